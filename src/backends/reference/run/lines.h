#pragma once

#include <algorithm>
#include <vector>

#include "backends/reference/run/rows.h"

namespace regraft::reference {

// A tensor split into the axes that a reduction or scan runs over and those that stay. Lines are
// read in row-major order of the reduced axes.
class Lines {
 public:
  Lines(const TensorView& x, const std::vector<bool>& reduced);

  // Number of elements in a line.
  int64_t length() const { return length_; }
  // Distance of neighbours in a line over one axis.
  int64_t step() const { return line_strides_.back(); }
  const Dims& kept_dims() const { return kept_; }
  const Dims& kept_strides() const { return kept_strides_; }
  // The strides of `out` along the kept axes, whether or not it has size-1 axes in place of the
  // reduced ones.
  Dims kept_strides_of(const TensorView& out) const;

  // Calls piece(offset, step, count) for successive pieces of the line that begins at `start`, at
  // most kRow elements each.
  template <typename Piece>
  void for_each_piece(int64_t start, const Piece& piece) const {
    const int64_t inner = line_.back();
    for (int64_t at = 0; at < length_;) {
      const int64_t count = std::min({inner - at % inner, length_ - at, kRow});
      piece(start + offset_of(at, line_, line_strides_), line_strides_.back(), count);
      at += count;
    }
  }

 private:
  std::vector<bool> reduced_;
  Dims kept_, kept_strides_, line_, line_strides_;
  int64_t length_ = 1;
};

// The axes that the attribute `dims` names: all for None and for the empty list.
std::vector<bool> reduced_axes(const Call& call);
// The axis that the attribute `dim` names; all axes for None.
std::vector<bool> reduced_axis(const Call& call);

}  // namespace regraft::reference
