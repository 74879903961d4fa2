#pragma once

#include <memory>

#include "backends/cpu/run/kernel.h"

namespace regraft::cpu {

// Softmax (with `is_log`, its logarithm) along `axis` where elements of another dimension lie side
// by side, in the operand and in the result. f32 and bf16; null where they do not lie so.
std::unique_ptr<Kernel> try_column_softmax(const KernelRequest& request, size_t axis, bool is_log);

}  // namespace regraft::cpu
