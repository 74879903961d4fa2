#pragma once

#include "backends/cuda/run/kernel.h"

namespace regraft::cuda {

// A step of the weight or shape program that has no kernel here: its operands are brought to the
// host, the reference calculates, the results are brought back. Null where the reference has no
// such op.
std::unique_ptr<Kernel> try_prepare_on_host(CudaDevice& device, const KernelRequest& request);

}  // namespace regraft::cuda
