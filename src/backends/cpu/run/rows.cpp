#include "backends/cpu/run/rows.h"

namespace regraft::cpu {

bool Rows::fits(const Operand& operand, size_t inner) {
  int64_t expected = 1;
  for (size_t i = 0; i < inner; ++i) {
    const size_t d = operand.dims.size() - 1 - i;
    if (operand.dims[d] != 1 && operand.strides[d] != expected) return false;
    expected *= operand.dims[d];
  }
  return true;
}

Rows::Rows(const Operand& operand, size_t inner) {
  const size_t rank = operand.dims.size();
  length_ = 1;
  for (size_t d = rank - inner; d < rank; ++d)
    length_ *= operand.dims[d];
  count_ = 1;
  // Neighbouring outer dimensions that step evenly are one.
  for (size_t d = 0; d + inner < rank; ++d) {
    count_ *= operand.dims[d];
    if (operand.dims[d] == 1) continue;
    if (!outer_.empty() && strides_.back() == operand.strides[d] * operand.dims[d]) {
      outer_.back() *= operand.dims[d];
      strides_.back() = operand.strides[d];
    } else {
      outer_.push_back(operand.dims[d]);
      strides_.push_back(operand.strides[d]);
    }
  }
  if (outer_.size() == 1) step_ = strides_[0];
}

}  // namespace regraft::cpu
