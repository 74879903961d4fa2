#pragma once

#include "compilation/compile_backend.h"

namespace regraft::cpu {

// Plans of "cpu.*" steps: fused epilogues and pointwise chains, channels-last activations of
// convolutions, views without copies. Ops without a cpu kernel become "reference.*" steps.
const compilation::CompileBackend& compile_backend();

}  // namespace regraft::cpu
