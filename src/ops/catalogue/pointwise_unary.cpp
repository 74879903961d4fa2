#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

// The input's dtype.
void same(TypeContext& context) { context.out(context.in(0)); }

void same_no_bool(TypeContext& context) {
  check_not_bool(context, context.in(0).dtype);
  same(context);
}

void real_no_bool(TypeContext& context) {
  check_not_complex(context, context.in(0).dtype);
  same_no_bool(context);
}

void real(TypeContext& context) {
  check_not_complex(context, context.in(0).dtype);
  same(context);
}

void magnitude(TypeContext& context) {
  TensorType type = context.in(0);
  check_not_bool(context, type.dtype);
  if (is_complex(type.dtype)) type.dtype = type.dtype == DType::C64 ? DType::F32 : DType::F64;
  context.out(type);
}

void square(TypeContext& context) {
  TensorType type = context.in(0);
  if (type.dtype == DType::Bool) type.dtype = DType::I64;
  context.out(type);
}

// Integers become f32.
void fraction(TypeContext& context) {
  TensorType type = context.in(0);
  type.dtype = floating_of(type.dtype);
  context.out(type);
}

void real_fraction(TypeContext& context) {
  check_not_complex(context, context.in(0).dtype);
  fraction(context);
}

// Activations that PyTorch defines on floating-point tensors only.
void floating(TypeContext& context) {
  check_floating(context, context.in(0).dtype);
  same(context);
}

void gelu(TypeContext& context) {
  const std::string& approximate = context.attributes().text("approximate");
  if (approximate != "none" && approximate != "tanh") {
    context.fail("approximate: want \"none\" or \"tanh\", have \"", approximate, "\"");
  }
  floating(context);
}

void bitwise(TypeContext& context) {
  const DType dtype = context.in(0).dtype;
  if (!is_integral(dtype) && dtype != DType::Bool) {
    context.fail("want integers or bool, have ", name(dtype));
  }
  same(context);
}

void predicate(TypeContext& context) { context.out(DType::Bool, context.in(0).dims); }

constexpr std::string_view kUnary = "(Tensor x) -> Tensor";

const OpDef kOps[] = {
    {"neg", kUnary, same_no_bool, kPointwise},
    {"abs", kUnary, magnitude, kPointwise},
    {"sign", kUnary, real, kPointwise},
    {"square", kUnary, square, kPointwise},
    {"floor", kUnary, real_no_bool, kPointwise},
    {"ceil", kUnary, real_no_bool, kPointwise},
    {"round", kUnary, real_no_bool, kPointwise},
    {"trunc", kUnary, real_no_bool, kPointwise},
    {"reciprocal", kUnary, fraction, kPointwise},
    {"exp", kUnary, fraction, kPointwise},
    {"expm1", kUnary, real_fraction, kPointwise},
    {"log", kUnary, real_fraction, kPointwise},
    {"log2", kUnary, real_fraction, kPointwise},
    {"log10", kUnary, real_fraction, kPointwise},
    {"log1p", kUnary, real_fraction, kPointwise},
    {"sqrt", kUnary, real_fraction, kPointwise},
    {"rsqrt", kUnary, real_fraction, kPointwise},
    {"sin", kUnary, real_fraction, kPointwise},
    {"cos", kUnary, real_fraction, kPointwise},
    {"tan", kUnary, real_fraction, kPointwise},
    {"asin", kUnary, real_fraction, kPointwise},
    {"acos", kUnary, real_fraction, kPointwise},
    {"atan", kUnary, real_fraction, kPointwise},
    {"sinh", kUnary, real_fraction, kPointwise},
    {"cosh", kUnary, real_fraction, kPointwise},
    {"tanh", kUnary, real_fraction, kPointwise},
    {"asinh", kUnary, real_fraction, kPointwise},
    {"acosh", kUnary, real_fraction, kPointwise},
    {"atanh", kUnary, real_fraction, kPointwise},
    {"erf", kUnary, real_fraction, kPointwise},
    {"sigmoid", kUnary, real_fraction, kPointwise},
    {"relu", kUnary, real_no_bool, kPointwise},
    {"silu", kUnary, floating, kPointwise},
    {"gelu", "(Tensor x, *, str approximate=\"none\") -> Tensor", gelu, kPointwise},
    {"hardswish", kUnary, floating, kPointwise},
    {"hardsigmoid", kUnary, floating, kPointwise},
    {"hardtanh", "(Tensor x, *, Scalar min=-1.0, Scalar max=1.0) -> Tensor", real_no_bool,
     kPointwise},
    {"leaky_relu", "(Tensor x, *, Scalar slope=0.01) -> Tensor", floating, kPointwise},
    {"elu", "(Tensor x, *, Scalar alpha=1.0) -> Tensor", floating, kPointwise},
    {"softplus", kUnary, floating, kPointwise},
    {"mish", kUnary, floating, kPointwise},
    {"logical_not", kUnary, predicate, kPointwise},
    {"bitwise_not", kUnary, bitwise, kPointwise},
    {"isnan", kUnary, predicate, kPointwise},
    {"isinf", kUnary, predicate, kPointwise},
};

}  // namespace

extern const OpFamily k_family_pointwise_unary;
const OpFamily k_family_pointwise_unary = kOps;

}  // namespace regraft::ops
