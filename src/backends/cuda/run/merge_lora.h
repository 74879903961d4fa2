#pragma once

#include <span>

#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {

// Enqueues all merges to the work stream as one launch. Throws Error{Unsupported} when they are too
// much for one.
void merge_lora(CudaDevice& device, std::span<const backends::LoraMerge> merges);

}  // namespace regraft::cuda
