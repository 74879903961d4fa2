#pragma once

#include <cstdint>

#include "regraft/tensor.h"

namespace regraft::refit {

// NaN and infinite elements of a row-major tensor; a complex element counts once for each of its
// two parts. 0 for integers and bool.
uint64_t count_non_finite(const TensorView& tensor);
// The same while copying to `to`, 16-byte aligned: the bytes are read once.
uint64_t copy_and_count_non_finite(const TensorView& from, void* to);

// The first value outside of [0, bound) of a row-major integer tensor, and where; index -1: none.
struct OutOfBounds {
  int64_t index = -1;
  int64_t value = 0;
};
OutOfBounds find_out_of_bounds(const TensorView& tensor, int64_t bound);

}  // namespace regraft::refit
