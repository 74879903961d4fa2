#pragma once

#include "regraft/tensor.h"

namespace regraft {

// Copies element by element between views of equal dims; converts the dtype where they differ (see
// tensor/convert.h for the rounding; denormals are kept). Parallel; both row-major and of one dtype
// is a memcpy. Overlapping views are the caller's bug. Throws Error{Mismatch} when dims differ.
void copy(const TensorView& from, const MutableTensorView& to);

}  // namespace regraft
