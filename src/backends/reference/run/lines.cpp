#include "backends/reference/run/lines.h"

namespace regraft::reference {

Lines::Lines(const TensorView& x, const std::vector<bool>& reduced) : reduced_(reduced) {
  for (size_t i = 0; i < x.dims.size(); ++i) {
    (reduced[i] ? line_ : kept_).push_back(x.dims[i]);
    (reduced[i] ? line_strides_ : kept_strides_).push_back(x.strides[i]);
  }
  length_ = numel(line_);
  std::vector<Dims> strides = {std::move(line_strides_)};
  collapse(line_, strides);
  line_strides_ = std::move(strides[0]);
}

Dims Lines::kept_strides_of(const TensorView& out) const {
  if (out.dims.size() == kept_.size()) return out.strides;
  Dims strides;
  for (size_t i = 0; i < reduced_.size(); ++i) {
    if (!reduced_[i]) strides.push_back(out.strides[i]);
  }
  return strides;
}

std::vector<bool> reduced_axes(const Call& call) {
  const size_t rank = call.in(0).dims.size();
  Dims dims;
  if (!call.attributes().is_none("dims")) dims = call.attributes().integers("dims");
  std::vector<bool> reduced(rank, dims.empty());
  for (const int64_t dim : dims) {
    if (rank > 0) reduced[axis_of(dim, rank)] = true;
  }
  return reduced;
}

std::vector<bool> reduced_axis(const Call& call) {
  const size_t rank = call.in(0).dims.size();
  const bool all = call.attributes().is_none("dim");
  std::vector<bool> reduced(rank, all);
  if (!all && rank > 0) reduced[axis_of(call.attributes().integer("dim"), rank)] = true;
  return reduced;
}

}  // namespace regraft::reference
