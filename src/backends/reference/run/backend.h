#pragma once

#include "backends/run_backend.h"

namespace regraft::reference {

// Slow, obvious kernels for every op of the catalogue: kernel "reference.<op>" computes op <op> on
// operands of any strides. The truth that other backends are tested against.
const backends::RunBackend& run_backend();

}  // namespace regraft::reference
