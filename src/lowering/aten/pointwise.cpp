#include <limits>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

bool is_one(const Attribute& scalar) {
  if (const auto* real = std::get_if<double>(&scalar)) return *real == 1.0;
  if (const auto* flag = std::get_if<bool>(&scalar)) return *flag;
  const auto* size = std::get_if<SymInt>(&scalar);
  return size != nullptr && *size == SymInt(1);
}

Attribute product(const Attribute& a, const Attribute& b) {
  const auto *x = std::get_if<SymInt>(&a), *y = std::get_if<SymInt>(&b);
  if (x != nullptr && y != nullptr) return *x * *y;
  Attributes numbers{{"a", a}, {"b", b}};
  return numbers.number("a") * numbers.number("b");
}

// left op alpha * right, where either is a number or a tensor.
void linear_combination(Call& call, std::string_view op, std::string_view left,
                        std::string_view right) {
  const Attribute alpha = call.scalar("alpha");
  Attributes attributes;
  ir::Value *x = nullptr, *y = nullptr;
  if (call.is_tensor(left)) {
    x = call.tensor(left);
  } else {
    attributes.set("scalar", call.scalar(left));
  }
  if (!call.is_tensor(right)) {
    const Attribute scalar = call.scalar(right);
    attributes.set("scalar", is_one(alpha) ? scalar : product(scalar, alpha));
  } else {
    y = call.tensor(right);
    if (!is_one(alpha)) y = call.emit_scalar("mul", y, alpha);
  }
  call.result(call.emit(op, {x, y}, std::move(attributes)));
}

void add(Call& call) { linear_combination(call, "add", "self", "other"); }
void sub(Call& call) { linear_combination(call, "sub", "self", "other"); }
void rsub(Call& call) { linear_combination(call, "sub", "other", "self"); }

// x*x is what PyTorch computes for an exponent of 2; the promotion of a float exponent stays.
void pow_scalar(Call& call) {
  ir::Value* x = call.tensor("self");
  const Attribute exponent = call.scalar("exponent");
  const auto* whole = std::get_if<SymInt>(&exponent);
  const auto* real = std::get_if<double>(&exponent);
  const bool is_two = (whole != nullptr && *whole == SymInt(2) && x->dtype() != DType::Bool) ||
                      (real != nullptr && *real == 2.0 && is_floating(x->dtype()));
  call.result(is_two ? call.emit("square", {x}) : call.emit_scalar("pow", x, exponent));
}

void clamp(Call& call) {
  Attributes bounds;
  for (const std::string name : {"min", "max"}) {
    if (!call.is_none(name)) bounds.set(name, call.scalar(name));
  }
  ir::Value* x = call.tensor("self");
  call.result(bounds.empty() ? x : call.emit("clamp", {x, nullptr, nullptr}, bounds));
}

void masked_fill(Call& call) {
  ir::Value* x = call.tensor("self");
  ir::Value* mask = call.tensor("mask");
  const bool is_tensor = call.is_tensor("value");
  Attributes attributes;
  if (!is_tensor) attributes.set("x_scalar", call.scalar("value"));
  ir::Value* filled =
      call.emit("where", {mask, is_tensor ? call.tensor("value") : nullptr, x}, attributes);
  call.result(call.cast(filled, x->dtype()));
}

// beta * x > threshold ? x : log(1 + exp(beta * x)) / beta
void softplus(Call& call) {
  const Attribute beta = call.scalar("beta");
  ir::Value* x = call.tensor("self");
  ir::Value* scaled = is_one(beta) ? x : call.emit_scalar("mul", x, beta);
  ir::Value* y = call.emit("softplus", {scaled});
  if (!is_one(beta)) y = call.emit_scalar("div", y, beta);
  // The catalogue's op has PyTorch's default threshold, 20.
  if (call.number("threshold") != 20) {
    y = call.emit("where", {call.emit_scalar("gt", scaled, call.scalar("threshold")), x, y});
  }
  call.result(y);
}

// Two to the number of bits by which integers are shifted.
SymInt shift_factor(Call& call) {
  if (is_floating(call.tensor("self")->dtype())) call.unsupported("of floating-point numbers");
  const int64_t bits = call.integer("other");
  if (bits < 0 || bits > 62) call.unsupported("by ", bits, " bits");
  return int64_t{1} << bits;
}

void left_shift(Call& call) {
  call.result(call.emit_scalar("mul", call.tensor("self"), shift_factor(call)));
}

void right_shift(Call& call) {
  call.result(call.emit("div", {call.tensor("self"), nullptr},
                        {{"scalar", shift_factor(call)}, {"rounding", std::string("floor")}}));
}

// scale * (x > 0 ? x : alpha * (exp(input_scale * x) - 1))
void elu_of(Call& call, double alpha, double scale, double input_scale) {
  ir::Value* x = call.tensor("self");
  ir::Value* y = nullptr;
  if (input_scale == 1) {
    y = call.emit("elu", {x}, {{"alpha", alpha}});
  } else {
    ir::Value* below = call.emit("expm1", {call.emit_scalar("mul", x, input_scale)});
    ir::Value* positive = call.emit_scalar("gt", x, SymInt(0));
    y = call.emit("where", {positive, x, call.emit_scalar("mul", below, alpha)});
  }
  call.result(scale == 1 ? y : call.emit_scalar("mul", y, scale));
}
void elu(Call& call) {
  elu_of(call, call.number("alpha"), call.number("scale"), call.number("input_scale"));
}
void celu(Call& call) { elu_of(call, call.number("alpha"), 1, 1 / call.number("alpha")); }

// weight [C] belongs to dimension 1.
void prelu(Call& call) {
  ir::Value* x = call.tensor("self");
  ir::Value* weight = call.tensor("weight");
  if (x->dims().size() > 2 && weight->dims().size() == 1) {
    SymDims dims(x->dims().size() - 1, 1);
    dims[0] = weight->dims()[0];
    weight = call.reshape(weight, dims);
  }
  if (x->dims().empty()) weight = call.reshape(weight, {});
  ir::Value* positive = call.emit_scalar("gt", x, SymInt(0));
  call.result(call.emit("where", {positive, x, call.emit("mul", {weight, x})}));
}

// self + value * f(tensor1, tensor2)
void add_scaled(Call& call, std::string_view op) {
  ir::Value* x = call.emit(op, {call.tensor("tensor1"), call.tensor("tensor2")});
  const Attribute value = call.scalar("value");
  if (!is_one(value)) x = call.emit_scalar("mul", x, value);
  call.result(call.emit("add", {call.tensor("self"), x}));
}
void addcmul(Call& call) { add_scaled(call, "mul"); }
void addcdiv(Call& call) { add_scaled(call, "div"); }

// self + weight * (end - self), from the end where that is nearer, as PyTorch does.
void lerp(Call& call) {
  ir::Value *x = call.tensor("self"), *end = call.tensor("end");
  ir::Value* way = call.emit("sub", {end, x});
  if (call.is_tensor("weight")) {
    return call.result(call.emit("add", {x, call.emit("mul", {way, call.tensor("weight")})}));
  }
  const double weight = call.number("weight");
  if (weight < 0.5) {
    return call.result(call.emit("add", {x, call.emit_scalar("mul", way, weight)}));
  }
  call.result(call.emit("sub", {end, call.emit_scalar("mul", way, 1 - weight)}));
}

// The greatest finite number of a floating dtype.
double largest(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return 65504;
    case DType::BF16:
      return 0x1.fep127;
    case DType::F32:
      return std::numeric_limits<float>::max();
    default:
      return std::numeric_limits<double>::max();
  }
}

void nan_to_num(Call& call) {
  ir::Value* x = call.tensor("self");
  if (!is_floating(x->dtype())) return call.result(x);
  const double limit = largest(x->dtype());
  const auto given = [&](const char* name, double fallback) {
    return call.is_none(name) ? fallback : call.number(name);
  };
  const auto replace = [&](ir::Value* where, double by) {
    x = call.emit("where", {where, nullptr, x}, {{"x_scalar", by}});
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  replace(call.emit("isnan", {x}), given("nan", 0));
  replace(call.emit_scalar("eq", x, kInfinity), given("posinf", limit));
  replace(call.emit_scalar("eq", x, -kInfinity), given("neginf", -limit));
  call.result(x);
}

// The first half times the sigmoid of the second.
void glu(Call& call) {
  ir::Value* x = call.tensor("self");
  const int64_t axis = call.axis("dim", x->dims().size());
  const SymInt half = floordiv(x->dims()[static_cast<size_t>(axis)], 2);
  ir::Value* left = call.emit("slice", {x}, {{"dim", SymInt(axis)}, {"end", half}});
  ir::Value* right = call.emit("slice", {x}, {{"dim", SymInt(axis)}, {"start", half}});
  call.result(call.emit("mul", {left, call.emit("sigmoid", {right})}));
}

constexpr AtenOp kOps[] = {
    {"abs(self)", "abs(self)"},
    {"acos(self)", "acos(self)"},
    {"acosh(self)", "acosh(self)"},
    {"asin(self)", "asin(self)"},
    {"asinh(self)", "asinh(self)"},
    {"atan(self)", "atan(self)"},
    {"atanh(self)", "atanh(self)"},
    {"bitwise_not(self)", "bitwise_not(self)"},
    {"ceil(self)", "ceil(self)"},
    {"cos(self)", "cos(self)"},
    {"cosh(self)", "cosh(self)"},
    {"erf(self)", "erf(self)"},
    {"erfc(self)", "sub(1.0, erf(self))"},
    {"exp(self)", "exp(self)"},
    {"exp2(self)", "pow(2.0, self)"},
    {"expm1(self)", "expm1(self)"},
    {"floor(self)", "floor(self)"},
    {"frac(self)", "sub(self, trunc(self))"},
    {"gelu(self, approximate=\"none\")", "gelu(self) {approximate=approximate}"},
    {"hardshrink(self, lambd=0.5)", "where(le(abs(self), lambd), 0.0, self)"},
    {"hardsigmoid(self)", "hardsigmoid(self)"},
    {"hardswish(self)", "hardswish(self)"},
    {"hardtanh(self, min_val=-1, max_val=1)", "hardtanh(self) {min=min_val, max=max_val}"},
    {"isfinite(self)", "logical_not(logical_or(isnan(self), isinf(self)))"},
    {"isinf(self)", "isinf(self)"},
    {"isnan(self)", "isnan(self)"},
    {"leaky_relu(self, negative_slope=0.01)", "leaky_relu(self) {slope=negative_slope}"},
    {"log(self)", "log(self)"},
    {"log10(self)", "log10(self)"},
    {"log1p(self)", "log1p(self)"},
    {"log2(self)", "log2(self)"},
    {"log_sigmoid(self)", "neg(softplus(neg(self)))"},
    {"log_sigmoid_forward(self)", "neg(softplus(neg(self)))"},
    {"logical_not(self)", "logical_not(self)"},
    {"logit(self)", "log(div(self, sub(1, self)))"},
    {"mish(self)", "mish(self)"},
    {"neg(self)", "neg(self)"},
    {"reciprocal(self)", "reciprocal(self)"},
    {"relu(self)", "relu(self)"},
    {"relu6(self)", "hardtanh(self) {min=0, max=6}"},
    {"round(self)", "round(self)"},
    {"rsqrt(self)", "rsqrt(self)"},
    {"selu(self)", "mul(elu(self) {alpha=1.6732632423543772}, 1.0507009873554805)"},
    {"sgn(self)", "sign(self)"},
    {"sigmoid(self)", "sigmoid(self)"},
    {"sign(self)", "sign(self)"},
    {"silu(self)", "silu(self)"},
    {"sin(self)", "sin(self)"},
    {"sinh(self)", "sinh(self)"},
    {"softsign(self)", "div(self, add(abs(self), 1))"},
    {"sqrt(self)", "sqrt(self)"},
    {"square(self)", "square(self)"},
    {"tan(self)", "tan(self)"},
    {"tanh(self)", "tanh(self)"},
    {"tanhshrink(self)", "sub(self, tanh(self))"},
    {"threshold(self, threshold, value)", "where(le(self, threshold), value, self)"},
    {"trunc(self)", "trunc(self)"},
    {"fix(self)", "trunc(self)"},

    {"add.Tensor,Scalar(self, other, alpha=1)", add},
    {"sub.Tensor,Scalar(self, other, alpha=1)", sub},
    {"subtract.Tensor,Scalar(self, other, alpha=1)", sub},
    {"rsub.Tensor,Scalar(self, other, alpha=1)", rsub},
    {"mul.Tensor,Scalar(self, other)", "mul(self, other)"},
    {"multiply.Tensor,Scalar(self, other)", "mul(self, other)"},
    {"div.Tensor,Scalar(self, other)", "div(self, other)"},
    {"divide.Tensor,Scalar(self, other)", "div(self, other)"},
    {"true_divide.Tensor,Scalar(self, other)", "div(self, other)"},
    {"div.Tensor_mode,Scalar_mode(self, other, rounding_mode=None)",
     "div(self, other) {rounding=rounding_mode}"},
    {"floor_divide.default,Scalar(self, other)", "div(self, other) {rounding=\"floor\"}"},
    {"pow.Tensor_Tensor,Scalar(self, exponent)", "pow(self, exponent)"},
    {"pow.Tensor_Scalar(self, exponent)", pow_scalar},
    {"fmod.Tensor,Scalar(self, other)", "fmod(self, other)"},
    {"remainder.Tensor,Scalar,Scalar_Tensor(self, other)", "remainder(self, other)"},
    {"atan2(self, other)", "atan2(self, other)"},
    {"minimum(self, other)", "minimum(self, other)"},
    {"maximum(self, other)", "maximum(self, other)"},
    {"min.other(self, other)", "minimum(self, other)"},
    {"max.other(self, other)", "maximum(self, other)"},
    {"eq.Tensor,Scalar(self, other)", "eq(self, other)"},
    {"ne.Tensor,Scalar(self, other)", "ne(self, other)"},
    {"lt.Tensor,Scalar(self, other)", "lt(self, other)"},
    {"le.Tensor,Scalar(self, other)", "le(self, other)"},
    {"gt.Tensor,Scalar(self, other)", "gt(self, other)"},
    {"ge.Tensor,Scalar(self, other)", "ge(self, other)"},
    {"greater.Tensor,Scalar(self, other)", "gt(self, other)"},
    {"less.Tensor,Scalar(self, other)", "lt(self, other)"},
    {"logical_and(self, other)", "logical_and(self, other)"},
    {"logical_or(self, other)", "logical_or(self, other)"},
    {"logical_xor(self, other)", "logical_xor(self, other)"},
    {"bitwise_and.Tensor,Scalar,Scalar_Tensor(self, other)", "bitwise_and(self, other)"},
    {"bitwise_or.Tensor,Scalar,Scalar_Tensor(self, other)", "bitwise_or(self, other)"},
    {"bitwise_xor.Tensor,Scalar,Scalar_Tensor(self, other)", "bitwise_xor(self, other)"},
    {"__and__.Tensor,Scalar(self, other)", "bitwise_and(self, other)"},
    {"__or__.Tensor,Scalar(self, other)", "bitwise_or(self, other)"},
    {"__xor__.Tensor,Scalar(self, other)", "bitwise_xor(self, other)"},
    {"__lshift__.Scalar(self, other)", left_shift},
    {"__rshift__.Scalar(self, other)", right_shift},
    {"bitwise_left_shift.Tensor_Scalar(self, other)", left_shift},
    {"bitwise_right_shift.Tensor_Scalar(self, other)", right_shift},
    {"addcmul(self, tensor1, tensor2, value=1)", addcmul},
    {"addcdiv(self, tensor1, tensor2, value=1)", addcdiv},

    {"where.self,ScalarOther,ScalarSelf,Scalar(condition, self, other)",
     "where(condition, self, other)"},
    {"masked_fill.Scalar,Tensor(self, mask, value)", masked_fill},
    {"clamp(self, min=None, max=None)", clamp},
    {"clip(self, min=None, max=None)", clamp},
    {"clamp.Tensor(self, min=None, max=None)", "clamp(self, min, max)"},
    {"clamp_min(self, min)", "clamp(self, none, none) {min=min}"},
    {"clamp_min.Tensor(self, min)", "clamp(self, min, none)"},
    {"clamp_max(self, max)", "clamp(self, none, none) {max=max}"},
    {"clamp_max.Tensor(self, max)", "clamp(self, none, max)"},
    {"elu(self, alpha=1, scale=1, input_scale=1)", elu},
    {"celu(self, alpha=1.0)", celu},
    {"softplus(self, beta=1, threshold=20)", softplus},
    {"prelu(self, weight)", prelu},
    {"_prelu_kernel(self, weight)", prelu},
    {"glu(self, dim=-1)", glu},
    {"lerp.Scalar,Tensor(self, end, weight)", lerp},
    {"nan_to_num(self, nan=None, posinf=None, neginf=None)", nan_to_num},
};

}  // namespace

extern const AtenTable k_pointwise;
const AtenTable k_pointwise = kOps;

}  // namespace regraft::lowering::aten
