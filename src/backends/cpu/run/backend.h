#pragma once

#include "backends/run_backend.h"

namespace regraft::cpu {

// oneDNN primitives and own kernels for x86-64. Kernels "cpu.<name>"; see run/kernels.
const backends::RunBackend& run_backend();

}  // namespace regraft::cpu
