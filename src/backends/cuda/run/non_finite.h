#pragma once

#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {

// NaN and infinite elements of each of some row-major tensors; blocks.
std::vector<uint64_t> count_non_finite(CudaDevice& device, const std::vector<TensorView>& tensors,
                                       Stream stream);

}  // namespace regraft::cuda
