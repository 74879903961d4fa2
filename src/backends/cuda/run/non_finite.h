#pragma once

#include <memory>
#include <span>

#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {

// Enqueues to the work stream counting the NaN and infinite elements of row-major tensors, all at
// once; adds each number to its counter. Tensors of integers are passed over.
void count_non_finite(CudaDevice& device, std::span<const TensorView> tensors,
                      std::span<uint64_t* const> counters);
// The same to be launched again and again.
std::unique_ptr<backends::Recording> repeat_counts(CudaDevice& device,
                                                   std::span<const TensorView> tensors,
                                                   std::span<uint64_t* const> counters);

}  // namespace regraft::cuda
