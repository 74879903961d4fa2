#pragma once

#include "backends/cuda/run/kernel.h"

namespace regraft::cuda {

// Convolutions whose windows neither overlap nor leave anything out, of few channels: the first
// step of vision transformers. They are products of the rows of a matrix, one for each window.
// The weight is plain: its filters are the other matrix.
bool is_patch_convolution(const KernelRequest& request);

// Null where the result lies otherwise than with its channels last.
std::unique_ptr<Kernel> try_make_patch_convolution(CudaDevice& device,
                                                   const KernelRequest& request);

}  // namespace regraft::cuda
