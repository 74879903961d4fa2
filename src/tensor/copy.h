#pragma once

#include "regraft/tensor.h"

namespace regraft {

// Copies element by element between views of equal dims; converts the dtype where they differ (see
// tensor/convert.h for the rounding; denormals are kept). Parallel; both row-major and of one dtype
// is a memcpy. Overlapping views are the caller's bug. Throws Error{Mismatch} when dims differ.
void copy(const TensorView& from, const MutableTensorView& to);

// What copy() does to a row of `count` elements; strides in elements.
using RowCopy = void (*)(const void* from, int64_t from_stride, void* to, int64_t to_stride,
                         int64_t count);
RowCopy copy_row_of(DType from, DType to);

}  // namespace regraft
