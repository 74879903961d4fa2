#pragma once

#include "backends/run_backend.h"

namespace regraft::cuda {

// Packings of this backend are dense tensors whose dimensions lie in another order: "order:0,2,3,1"
// names them outermost first. "channels:8 order:0,2,3,1" has zeros behind the channels (dimension
// 1), so that there are 8.
backends::Packing packing_of(const backends::Operand& operand, const std::vector<size_t>& order,
                             int64_t channels = 0);
// What a tensor of these dims becomes in the packing: more channels, or the same dims. Throws
// Error{Unsupported} for ids that are no such packing.
Dims packed_dims(const backends::Packing& packing, const Dims& dims);
// The strides of a packing, plain or not. Throws Error{Unsupported} for an id that is no order of
// these dims and Error{Corrupt} when its bytes are others. They count elements of packed_dims().
Dims packed_strides(const backends::Packing& packing, const Dims& dims, DType dtype);
// Output channels first, input channels last: what convolutions read.
std::vector<size_t> channels_last(size_t rank);
Dims strides_of(const Dims& dims, const std::vector<size_t>& order);

}  // namespace regraft::cuda
