#pragma once

#include <span>

#include "regraft/tensor.h"
#include "tensor/attributes.h"

namespace regraft {

// Rank of an operand in type promotion, strongest first.
enum class PromotionRank { Dimensioned, ZeroDim, Number };

struct PromotionOperand {
  DType dtype;
  PromotionRank rank;
};

// Result type of arithmetic, as torch.result_type: tensors of one or more dimensions outrank 0-d
// tensors, which outrank numbers, within and across categories (bool < integral < floating <
// complex). Numbers are Bool, I64 or F32. F32 when there is no operand. Throws Error{Unsupported}
// for float8 beside another dtype of its rank.
DType promote(std::span<const PromotionOperand> operands);

// `dtype`, or F32 for bool and integers: the result type of functions that give fractions.
DType floating_of(DType dtype);

// Bool, I64 or F32: how a Scalar (a bool, a size or a double) takes part in promotion.
DType number_dtype(const Attribute& scalar);

}  // namespace regraft
