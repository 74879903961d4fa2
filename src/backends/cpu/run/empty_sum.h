#pragma once

#include <memory>

#include "backends/cpu/run/gemm.h"

namespace regraft::cpu {

// The kernel of a product whose depth is 0, for which oneDNN has none: sums of nothing are 0, and
// bias and epilogue follow. Null for other depths.
std::unique_ptr<Kernel> make_empty_sum(const GemmProblem& problem, const GemmInputs& inputs);

}  // namespace regraft::cpu
