#include "backends/cuda/run/attention.h"

#include <algorithm>
#include <cmath>

namespace regraft::cuda {
namespace {

// With strides over `wanted` batch dims, to which its own broadcast.
LaunchOperand over(LaunchOperand operand, const Dims& wanted) {
  Operand lead;
  lead.dims.assign(operand.dims.begin(), operand.dims.end() - 2);
  lead.strides.assign(operand.strides.begin(), operand.strides.end() - 2);
  Dims strides = broadcast_strides(lead, wanted);
  const size_t rank = operand.dims.size();
  Dims dims = wanted;
  dims.insert(dims.end(), {operand.dims[rank - 2], operand.dims[rank - 1]});
  strides.insert(strides.end(), {operand.strides[rank - 2], operand.strides[rank - 1]});
  operand.dims = std::move(dims);
  operand.strides = std::move(strides);
  return operand;
}

}  // namespace

AttentionProblem::AttentionProblem(const KernelRequest& request)
    : query(input_of(request, 0)),
      key(input_of(request, 1)),
      value(input_of(request, 2)),
      out(output_of(request, 0)) {
  const size_t rank = out.dims.size();
  batch.assign(out.dims.begin(), out.dims.end() - 2);
  queries = out.dims[rank - 2];
  keys = key.dims[key.dims.size() - 2];
  features = query.dims.back();
  scale = request.attributes.is_none("scale") ? 1 / std::sqrt(static_cast<double>(features))
                                              : request.attributes.number("scale");
  causal = request.attributes.flag("is_causal");
  if (is_present(request.inputs, 3)) {
    mask = input_of(request, 3);
    Dims dims = batch;
    dims.insert(dims.end(), {queries, keys});
    mask->strides = broadcast_strides(request.inputs[3], dims);
    mask->dims = std::move(dims);
  }
  const bool grouped = request.attributes.flag("enable_gqa") && !batch.empty();
  const auto heads_of = [&](const LaunchOperand& operand) {
    return grouped && operand.dims.size() == rank ? operand.dims[rank - 3]
           : batch.empty()                        ? 1
                                                  : batch.back();
  };
  const int64_t key_heads = heads_of(key), value_heads = heads_of(value);
  query = over(query, batch);
  out = over(out, batch);
  Dims key_batch = batch, value_batch = batch;
  if (grouped) {
    key_batch.back() = key_heads;
    value_batch.back() = value_heads;
  }
  key = over(key, key_batch);
  value = over(value, value_batch);
  if (!grouped || (key_heads == batch.back() && value_heads == batch.back())) return;
  const auto [few, many] = std::minmax(key_heads, value_heads);
  copies = many % few != 0;
  if (copies) return;
  levels_ = {few, many / few, batch.back() / many};
  for (LaunchOperand* operand : {&query, &key, &value, &out})
    split(*operand);
  if (mask) split(*mask);
  batch.pop_back();
  batch.insert(batch.end(), levels_.begin(), levels_.end());
}

// Replaces the head dimension, third from the end, by the levels.
void AttentionProblem::split(LaunchOperand& operand) const {
  const size_t at = operand.dims.size() - 3;
  const int64_t stride = operand.strides[at];
  Dims strides(3, 0);
  // How many of the operand's heads are left behind one step of a level.
  int64_t own = operand.dims[at];
  for (size_t i = 0; i < 3; ++i) {
    if (own <= 1 || own % levels_[i] != 0) continue;
    own /= levels_[i];
    strides[i] = stride * own;
  }
  const auto place = static_cast<std::ptrdiff_t>(at);
  operand.dims.erase(operand.dims.begin() + place);
  operand.strides.erase(operand.strides.begin() + place);
  operand.dims.insert(operand.dims.begin() + place, levels_.begin(), levels_.end());
  operand.strides.insert(operand.strides.begin() + place, strides.begin(), strides.end());
}

}  // namespace regraft::cuda
