#pragma once

#include "backends/cuda/run/kernel.h"

namespace regraft::cuda {

// The op group_norm, with its epilogue, of tensors whose channels lie next to each other: the
// images between convolutions. Null for others.
std::unique_ptr<Kernel> try_make_group_norm(CudaDevice& device, const KernelRequest& request);

}  // namespace regraft::cuda
