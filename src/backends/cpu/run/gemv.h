#pragma once

#include <memory>

#include "backends/cpu/run/gemm.h"

namespace regraft::cpu {

// Products of few rows are bound by reading the weight once: at most this many rows are computed
// from a plain weight [columns, depth] by dot products.
inline constexpr int64_t kGemvRows = 4;

// Null when the problem is not such a product.
std::unique_ptr<Kernel> make_gemv(const GemmProblem& problem, const GemmInputs& inputs);

}  // namespace regraft::cpu
