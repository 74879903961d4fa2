#pragma once

#include "backends/run_backend.h"

namespace regraft::cuda {

// The kernels "cuda.*". Nothing of CUDA is loaded before a device is asked for.
const backends::RunBackend& run_backend();

}  // namespace regraft::cuda
