#pragma once

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// Copies the rows of a matrix, which begin at multiples of 16 bytes and end with whole ones, to
// rows that begin anywhere. Both are dense along their last dimension, of one dtype of 2 or 4
// bytes; the dims are those of `to`.
Launch make_shifted_rows(CudaDevice& device, const LaunchOperand& from, const LaunchOperand& to);

}  // namespace regraft::cuda
