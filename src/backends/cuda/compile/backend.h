#pragma once

#include "compilation/compile_backend.h"

namespace regraft::cuda {

// Plans of "cuda.*" steps: fused epilogues and pointwise chains, channels-last activations of
// convolutions, views without copies. Needs neither a GPU nor CUDA.
const compilation::CompileBackend& compile_backend();

}  // namespace regraft::cuda
