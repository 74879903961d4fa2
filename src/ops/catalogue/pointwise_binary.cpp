#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

TensorType operands(const TypeContext& context) {
  const bool scalar = given(context, "scalar") != nullptr;
  if (context.has(0) + context.has(1) + scalar != 2) {
    context.fail("want two operands: two tensors, or one tensor and a scalar");
  }
  return pointwise_type(context, {"scalar"});
}

void arithmetic(TypeContext& context) { context.out(operands(context)); }

void subtract(TypeContext& context) {
  const TensorType type = operands(context);
  const Attribute* scalar = given(context, "scalar");
  bool any_bool = scalar != nullptr && std::holds_alternative<bool>(*scalar);
  for (size_t i = 0; i < 2; ++i) {
    any_bool = any_bool || (context.has(i) && context.in(i).dtype == DType::Bool);
  }
  if (any_bool) context.fail("is not defined on bool; use logical_xor");
  context.out(type);
}

void divide(TypeContext& context) {
  TensorType type = operands(context);
  if (given(context, "rounding") == nullptr) {
    type.dtype = floating_of(type.dtype);
  } else {
    const std::string& rounding = context.attributes().text("rounding");
    if (rounding != "trunc" && rounding != "floor") {
      context.fail("rounding: want none, \"trunc\" or \"floor\", have \"", rounding, "\"");
    }
    check_not_bool(context, type.dtype);
    check_not_complex(context, type.dtype);
  }
  context.out(type);
}

void power(TypeContext& context) {
  const TensorType type = operands(context);
  const Attribute* scalar = given(context, "scalar");
  const auto* exponent = scalar != nullptr ? std::get_if<SymInt>(scalar) : nullptr;
  if (is_integral(type.dtype) && context.has(0) && exponent != nullptr && exponent->is_constant() &&
      exponent->value() < 0) {
    context.fail("an integer to the power ", exponent->value(), " is not an integer");
  }
  check_not_bool(context, type.dtype);
  check_not_complex(context, type.dtype);
  context.out(type);
}

void ordered(TypeContext& context) {
  const TensorType type = operands(context);
  check_not_complex(context, type.dtype);
  context.out(type);
}

void modulus(TypeContext& context) {
  check_not_bool(context, operands(context).dtype);
  ordered(context);
}

void angle(TypeContext& context) {
  TensorType type = operands(context);
  check_not_complex(context, type.dtype);
  type.dtype = floating_of(type.dtype);
  context.out(type);
}

void equality(TypeContext& context) { context.out(DType::Bool, operands(context).dims); }

void comparison(TypeContext& context) {
  const TensorType type = operands(context);
  check_not_complex(context, type.dtype);
  context.out(DType::Bool, type.dims);
}

void bitwise(TypeContext& context) {
  const TensorType type = operands(context);
  if (!is_integral(type.dtype) && type.dtype != DType::Bool) {
    context.fail("want integers or bool, have ", name(type.dtype));
  }
  context.out(type);
}

constexpr std::string_view kBinary = "(Tensor? x, Tensor? y, *, Scalar? scalar=None) -> Tensor";

const OpDef kOps[] = {
    {"add", kBinary, arithmetic, kPointwise},
    {"sub", kBinary, subtract, kPointwise},
    {"mul", kBinary, arithmetic, kPointwise},
    {"div", "(Tensor? x, Tensor? y, *, Scalar? scalar=None, str? rounding=None) -> Tensor", divide,
     kPointwise},
    {"pow", kBinary, power, kPointwise},
    {"minimum", kBinary, ordered, kPointwise},
    {"maximum", kBinary, ordered, kPointwise},
    {"fmod", kBinary, modulus, kPointwise},
    {"remainder", kBinary, modulus, kPointwise},
    {"atan2", kBinary, angle, kPointwise},
    {"eq", kBinary, equality, kPointwise},
    {"ne", kBinary, equality, kPointwise},
    {"lt", kBinary, comparison, kPointwise},
    {"le", kBinary, comparison, kPointwise},
    {"gt", kBinary, comparison, kPointwise},
    {"ge", kBinary, comparison, kPointwise},
    {"logical_and", kBinary, equality, kPointwise},
    {"logical_or", kBinary, equality, kPointwise},
    {"logical_xor", kBinary, equality, kPointwise},
    {"bitwise_and", kBinary, bitwise, kPointwise},
    {"bitwise_or", kBinary, bitwise, kPointwise},
    {"bitwise_xor", kBinary, bitwise, kPointwise},
};

}  // namespace

extern const OpFamily k_family_pointwise_binary;
const OpFamily k_family_pointwise_binary = kOps;

}  // namespace regraft::ops
