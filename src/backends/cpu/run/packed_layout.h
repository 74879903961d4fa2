#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "backends/run_backend.h"

namespace regraft::cpu {

// How a kernel sees a constant: dimension 0 split into [groups, size / groups] when groups > 1,
// then the dimensions permuted. Dimension i of the result is dimension order[i] of the split
// tensor.
struct WeightView {
  int64_t groups = 1;
  std::vector<int64_t> order;

  static WeightView identity(size_t rank);
  Dims dims(const Dims& logical) const;
  // Strides of the view of a tensor of `logical` dims with `strides`.
  Dims strides(const Dims& logical, const Dims& strides) const;
};

// The physical form of a packed constant: the blocked layouts of oneDNN, written out. Elements past
// the logical size are zero. Its id is a packing id; equal ids mean equal bytes.
class PackedLayout {
 public:
  // `descriptor` must be blocked (what primitives choose for `any`) and without extra data.
  PackedLayout(const dnnl::memory::desc& descriptor, WeightView view, const Dims& logical);
  // Throws Error{Corrupt} on text that is not an id of this backend.
  static PackedLayout parse(std::string_view id);
  static bool is_id(std::string_view id);

  std::string id() const;
  backends::Packing packing() const { return {id(), bytes()}; }
  size_t bytes() const;
  DType dtype() const { return dtype_; }
  const Dims& logical() const { return logical_; }
  const WeightView& view() const { return view_; }
  const Dims& dims() const { return dims_; }
  const Dims& padded() const { return padded_; }
  // The oneDNN descriptor of this form. Throws Error{Unsupported} when oneDNN has no tag for it.
  dnnl::memory::desc descriptor() const;
  // Offsets, in elements, of positions 0 to padded()[d]-1 along dimension d. The offset of an
  // element is the sum over its dimensions.
  std::vector<int64_t> offsets(size_t d) const;

 private:
  PackedLayout() = default;
  void check() const;

  DType dtype_ = DType::F32;
  Dims logical_;
  WeightView view_;
  Dims dims_, padded_, strides_;
  Dims block_dims_, block_sizes_;  // Outermost block first.

  friend bool operator==(const WeightView&, const WeightView&);
};

inline bool operator==(const WeightView& a, const WeightView& b) {
  return a.groups == b.groups && a.order == b.order;
}

}  // namespace regraft::cpu
