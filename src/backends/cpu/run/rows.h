#pragma once

#include <vector>

#include "backends/cpu/run/kernel.h"

namespace regraft::cpu {

// An operand seen as rows: `inner` trailing dimensions that are contiguous make one row each, the
// dimensions before them, of any strides, say where the rows begin.
class Rows {
 public:
  Rows() = default;
  // Empty when the trailing dimensions are not contiguous.
  static bool fits(const Operand& operand, size_t inner);
  Rows(const Operand& operand, size_t inner);

  int64_t count() const { return count_; }
  int64_t length() const { return length_; }
  // Where row `i` begins, in elements.
  int64_t offset(int64_t i) const {
    if (outer_.size() <= 1) return i * step_;
    int64_t offset = 0;
    for (size_t d = outer_.size(); d-- > 0;) {
      offset += i % outer_[d] * strides_[d];
      i /= outer_[d];
    }
    return offset;
  }

 private:
  int64_t count_ = 0, length_ = 0, step_ = 0;
  Dims outer_, strides_;
};

}  // namespace regraft::cpu
