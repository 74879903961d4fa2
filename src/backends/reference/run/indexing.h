#pragma once

#include <string_view>
#include <vector>

#include "backends/reference/run/kernel.h"

namespace regraft::reference {

// Every element of an index tensor, in row-major order.
std::vector<int64_t> read_indices(const TensorView& view);

// Throws Error{"engine", InvalidArgument} unless 0 <= index < size.
void check_index(std::string_view op, int64_t index, int64_t size);

// A 0-d tensor as one of a single element; any other as it is.
TensorView at_least_1d(const TensorView& view);
MutableTensorView at_least_1d(const MutableTensorView& view);

}  // namespace regraft::reference
