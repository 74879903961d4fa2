#pragma once

#include <optional>
#include <span>
#include <string>

#include "regraft/error.h"
#include "regraft/weight_source.h"

namespace regraft::refit {

// What is wrong with a term for a weight of these dtype and dims; none: it fits.
struct LoraProblem {
  ErrorCode code = ErrorCode::Mismatch;
  std::string text;
};
std::optional<LoraProblem> problem_of(const TensorView& base, const LoraTerm& term);

// Whether the term changes anything.
bool is_active(const LoraTerm& term);

// base + sum of the terms, of base's dtype and dims. Sums are taken in f32 (added to an f64 base in
// f64): over the rank first, then over the terms in their order, then onto the base, rounded once.
// The bits do not depend on the number of threads nor on the processor. Terms of scale 0 are left
// out: without others, the result is the base bit for bit.
// Throws Error{Mismatch} when dims do not fit, Error{Unsupported} for dtypes that are not floating.
Tensor merge_lora(const TensorView& base, std::span<const LoraTerm> terms);
// The same into row-major memory of the caller's, which may be that of a row-major base.
void merge_lora(const TensorView& base, std::span<const LoraTerm> terms, void* to);

}  // namespace regraft::refit
