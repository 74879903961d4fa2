#pragma once

#include <memory>
#include <span>

#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {

// Many copies within the device as one launch on its work stream.
void copy_blocks(CudaDevice& device, std::span<const backends::BlockCopy> blocks);
// The same from pinned memory, by the addresses at which the device reads it; waits for no copy.
void read_blocks(CudaDevice& device, std::span<const backends::BlockCopy> blocks);
// The same to be launched again and again.
std::unique_ptr<backends::Recording> repeat_copies(CudaDevice& device,
                                                   std::span<const backends::BlockCopy> blocks);

}  // namespace regraft::cuda
