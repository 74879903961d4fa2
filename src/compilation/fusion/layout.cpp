#include "compilation/fusion/layout.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Value;

// For symbols without an optimum: large, so that no dimension looks like a size of 1.
constexpr int64_t kSampleSize = 64;

MemoryOrder row_major_order(size_t rank) {
  MemoryOrder order(rank);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

MemoryOrder channels_last_order(size_t rank) {
  MemoryOrder order = row_major_order(rank);
  if (rank > 2) std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return order;
}

bool is_one_of(const Node& node, std::initializer_list<std::string_view> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view name) { return node.is(name); });
}

// Ops whose result best lies as their first operand.
bool follows_first_op(const Node& node) {
  return is_one_of(
      node, {"max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "upsample_nearest",
             "upsample_bilinear", "upsample_bicubic", "group_norm", "layer_norm", "rms_norm", "pad",
             "softmax", "log_softmax", "linear", "cat"});
}

// Kernels that want the last dimension innermost.
bool is_row_op(const Node& node) {
  return is_one_of(node,
                   {"layer_norm", "rms_norm", "softmax", "linear", "scaled_dot_product_attention"});
}

// The dims of a permute, each in [0, rank).
MemoryOrder permutation(const Node& node) {
  const auto rank = static_cast<int64_t>(node.output()->dims().size());
  MemoryOrder out;
  for (const int64_t dim : node.attributes().integers("dims")) {
    out.push_back(static_cast<size_t>(dim < 0 ? dim + rank : dim));
  }
  return out;
}

// The one permute that reads a value, if nothing else does.
const Node* only_permute(const Value& value) {
  const bool is_alone = value.users().size() == 1 && !value.is_graph_output();
  return is_alone && value.users().front()->is("permute") ? value.users().front() : nullptr;
}

}  // namespace

Layouts::Layouts(const ir::Graph& graph, PlanBuilder& builder, const FusionTarget& target)
    : builder_(builder), target_(target) {
  std::set<std::string> names;
  for (const Value* input : graph.inputs()) {
    for (const SymInt& size : input->dims())
      size.collect_symbols(names);
  }
  for (const std::string& name : names)
    sample_[name] = kSampleSize;
  for (const plan::Symbol& symbol : graph.symbols()) {
    sample_[symbol.name] =
        std::clamp<int64_t>(kSampleSize, symbol.min, std::max(symbol.min, symbol.max));
  }
}

MemoryOrder Layouts::order_of(const Value* value, ir::Region reader) const {
  const plan::Buffer& buffer = builder_.at(builder_.buffer(value, reader));
  const Dims dims = eval(buffer.type.dims, sample_), strides = eval(buffer.strides, sample_);
  MemoryOrder order = row_major_order(dims.size());
  // Sizes of 1 stay where they are; an order among the others by stride.
  MemoryOrder large;
  for (const size_t d : order) {
    if (dims[d] != 1) large.push_back(d);
  }
  MemoryOrder sorted = large;
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](size_t a, size_t b) { return strides[a] > strides[b]; });
  for (size_t i = 0; i < large.size(); ++i)
    order[large[i]] = sorted[i];
  return order;
}

MemoryOrder Layouts::result_order(const Node& node) const {
  const Value* result = node.output();
  const size_t rank = result->dims().size();
  if (node.region() == ir::Region::Weight || result->is_graph_output()) {
    return row_major_order(rank);
  }
  if (node.is("convolution") || target_.is_fused(node, "convolution")) {
    return channels_last_order(rank);
  }
  if (node.is("scaled_dot_product_attention")) {
    // As the query, whose rows then meet those of residuals again.
    MemoryOrder order = followed(node, true);
    if (!is_row_major(order)) return order;
  }
  if (is_one_of(node, {"scaled_dot_product_attention", "matmul"}) ||
      target_.is_fused(node, "matmul")) {
    const Node* permute = only_permute(*result);
    return permute != nullptr ? permutation(*permute) : row_major_order(rank);
  }
  if (target_.is_fused(node, "pointwise")) return followed(node, false);
  if (follows_first(node)) return followed(node, true);
  return row_major_order(rank);
}

// Of large linears: reading a padded result costs nothing, where a kernel reads it.
std::optional<SymInt> Layouts::row_size(const Node& node) const {
  constexpr int64_t kFewest = 1024;
  const Value* result = node.output();
  const SymDims& dims = result->dims();
  const auto item = static_cast<int64_t>(item_size(result->dtype()));
  const int64_t vector = std::max<int64_t>(target_.row_bytes / item, 1);
  const bool is_linear = node.is("linear") || target_.is_fused(node, "linear");
  if (!is_linear || node.region() != ir::Region::Compute || result->is_graph_output() ||
      dims.size() < 2 || !dims.back().is_constant() || dims.back().value() < kFewest ||
      dims.back().value() % vector == 0) {
    return std::nullopt;
  }
  return SymInt((dims.back().value() + vector - 1) / vector * vector);
}

bool Layouts::follows_first(const Node& node) const {
  return follows_first_op(node) || target_.is_fused(node, "linear") ||
         target_.is_fused(node, "group_norm");
}

bool Layouts::works_on_rows(const Node& node) const {
  return is_row_op(node) || target_.is_fused(node, "linear");
}

// The order of the first input of the result's dims (or rank only) that is not row-major, else
// row-major.
MemoryOrder Layouts::followed(const Node& node, bool any_size) const {
  const size_t rank = node.output()->dims().size();
  for (const Value* input : node.inputs()) {
    if (input == nullptr || input->dims().size() != rank) continue;
    if (!any_size && input->dims() != node.output()->dims()) continue;
    MemoryOrder order = order_of(input, node.region());
    if (works_on_rows(node) && order.back() != rank - 1) break;
    if (!is_row_major(order)) return order;
    if (any_size && !node.is("cat")) break;
  }
  return row_major_order(rank);
}

bool Layouts::is_row_major(const MemoryOrder& order) {
  return std::is_sorted(order.begin(), order.end());
}

SymDims Layouts::strides(const SymDims& dims, const MemoryOrder& order) {
  SymDims strides(order.size(), 1);
  SymInt stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride = stride * dims[order[i]];
  }
  return strides;
}

}  // namespace regraft::compilation
