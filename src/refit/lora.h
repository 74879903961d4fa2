#pragma once

#include <span>

#include "regraft/tensor.h"

namespace regraft::refit {

// A low-rank change of a weight: scale * B @ A.
struct LoraTerm {
  TensorView a;  // [rank, in] or [rank, in, kernel...]
  TensorView b;  // [out, rank] or [out, rank, 1...]
  float scale = 1;
  // The weight is stored [in, out] (GPT-2's linears, embeddings): adds the transposed product.
  bool transposed = false;
};

// base + sum of the terms, of base's dtype and dims. Sums are taken in f32 (added to an f64 base in
// f64): over the rank first, then over the terms in their order, then onto the base, rounded once.
// The bits do not depend on the number of threads nor on the processor. Terms of scale 0 are left
// out: without others, the result is the base bit for bit.
// Throws Error{Mismatch} when dims do not fit, Error{Unsupported} for dtypes that are not floating.
Tensor merge_lora(const TensorView& base, std::span<const LoraTerm> terms);

}  // namespace regraft::refit
