#include "tensor/promotion.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/fail.h"

namespace regraft {
namespace {

int category(DType dtype) {
  if (dtype == DType::Bool) return 0;
  if (is_integral(dtype)) return 1;
  return is_floating(dtype) ? 2 : 3;
}

// torch.promote_types.
DType promote_pair(DType a, DType b) {
  if (a == b) return a;
  if (is_float8(a) || is_float8(b)) {
    base::fail("tensor", ErrorCode::Unsupported, name(a), " and ", name(b),
               " have no common dtype, as in PyTorch: cast one of them");
  }
  if (category(a) != category(b)) {
    if (category(a) < category(b)) std::swap(a, b);
    if (a == DType::C64 && b == DType::F64) return DType::C128;
    return a;
  }
  const auto is = [&](DType x, DType y) { return (a == x && b == y) || (a == y && b == x); };
  if (is(DType::F16, DType::BF16)) return DType::F32;
  if (is(DType::U8, DType::I8)) return DType::I16;
  return std::max(a, b);  // Ids ascend with width within a category.
}

// What stands in a lower rank counts only where it is of a higher category.
std::optional<DType> combine(std::optional<DType> higher, std::optional<DType> lower) {
  if (!higher) return lower;
  if (!lower || category(*lower) <= category(*higher)) return higher;
  if (is_floating(*higher)) return *higher == DType::F64 ? DType::C128 : DType::C64;
  return lower;
}

}  // namespace

DType promote(std::span<const PromotionOperand> operands) {
  std::array<std::optional<DType>, 3> ranks;
  for (const PromotionOperand& operand : operands) {
    std::optional<DType>& into = ranks[static_cast<size_t>(operand.rank)];
    into = into ? promote_pair(*into, operand.dtype) : operand.dtype;
  }
  return combine(combine(ranks[0], ranks[1]), ranks[2]).value_or(DType::F32);
}

DType floating_of(DType dtype) {
  return dtype == DType::Bool || is_integral(dtype) ? DType::F32 : dtype;
}

DType number_dtype(const Attribute& scalar) {
  if (std::holds_alternative<bool>(scalar)) return DType::Bool;
  return std::holds_alternative<SymInt>(scalar) ? DType::I64 : DType::F32;
}

}  // namespace regraft
