#include <algorithm>
#include <cmath>

#include "lowering/aten/aten.h"
#include "lowering/values.h"

namespace regraft::lowering::aten {
namespace {

bool is_number(const Attribute& scalar, double value) {
  return Attributes{{"x", scalar}}.number("x") == value;
}

// A factor as PyTorch has it, in the type of what it multiplies.
Attribute factor(Call& call, std::string_view name, DType dtype) {
  Attribute scalar = call.scalar(name);
  const auto* real = std::get_if<double>(&scalar);
  if (real == nullptr || !is_integral(dtype)) return scalar;
  constexpr double kLimit = 0x1p62;
  if (!(std::abs(*real) < kLimit)) call.unsupported(name, " = ", *real, " of integers");
  return SymInt(static_cast<int64_t>(*real));
}

// beta * self + alpha * product
void add_product(Call& call, ir::Value* product) {
  const Attribute alpha = factor(call, "alpha", product->dtype());
  const Attribute beta = factor(call, "beta", product->dtype());
  if (!is_number(alpha, 1)) product = call.emit_scalar("mul", product, alpha);
  // With beta 0 PyTorch does not read `self`, whatever it holds.
  if (is_number(beta, 0)) return call.result(product);
  ir::Value* self = call.tensor("self");
  if (!is_number(beta, 1)) self = call.emit_scalar("mul", self, beta);
  call.result(call.emit("add", {product, self}));
}

// A linear layer where the right side is a weight; weights are kept as [out, in].
void addmm(Call& call) {
  ir::Value *x = call.tensor("mat1"), *y = call.tensor("mat2"), *bias = call.tensor("self");
  const bool is_plain = is_number(call.scalar("alpha"), 1) && is_number(call.scalar("beta"), 1);
  const bool is_bias =
      bias->dims().size() == 1 && y->dims().size() == 2 && bias->dims()[0] == y->dims()[1];
  if (is_plain && is_bias && is_weight(y)) {
    return call.result(call.emit("linear", {x, transposed(call.graph(), y), bias}));
  }
  add_product(call, call.emit("matmul", {x, y}));
}

void baddbmm(Call& call) {
  add_product(call, call.emit("matmul", {call.tensor("batch1"), call.tensor("batch2")}));
}

void addmv(Call& call) {
  add_product(call, call.emit("matmul", {call.tensor("mat"), call.tensor("vec")}));
}

// PyTorch also takes a weight that is a single row, and drops its dimension then.
void linear(Call& call) {
  ir::Value *x = call.tensor("input"), *weight = call.tensor("weight");
  ir::Value* bias = call.optional_tensor("bias");
  if (weight->dims().size() == 1) {
    ir::Value* y = call.emit("matmul", {x, weight});
    return call.result(bias == nullptr ? y : call.emit("add", {y, bias}));
  }
  // A bias that is not a row of the result is an addition.
  const bool is_row =
      bias == nullptr || (bias->dims().size() == 1 && bias->dims()[0] == weight->dims()[0]);
  ir::Value* y = call.emit("linear", {x, weight, is_row ? bias : nullptr});
  call.result(is_row ? y : call.emit("add", {y, bias}));
}

void outer(Call& call) {
  ir::Value *x = call.tensor("self"), *y = call.tensor("vec2");
  call.result(call.emit("mul", {call.reshape(x, {numel(x->dims()), 1}), y}));
}

void vdot(Call& call) {
  ir::Value *x = call.tensor("self"), *y = call.tensor("other");
  if (is_complex(x->dtype())) call.unsupported("of complex numbers, which it conjugates");
  call.result(call.emit("matmul", {x, y}));
}

constexpr AtenOp kOps[] = {
    {"mm(self, mat2)", "matmul(self, mat2)"},
    {"bmm(self, mat2)", "matmul(self, mat2)"},
    {"mv(self, vec)", "matmul(self, vec)"},
    {"dot(self, tensor)", "matmul(self, tensor)"},
    {"vdot(self, other)", vdot},
    {"matmul(self, other)", "matmul(self, other)"},
    {"linalg_matmul(self, other)", "matmul(self, other)"},
    {"linear(input, weight, bias=None)", linear},
    {"addmm(self, mat1, mat2, beta=1, alpha=1)", addmm},
    {"baddbmm(self, batch1, batch2, beta=1, alpha=1)", baddbmm},
    {"addmv(self, mat, vec, beta=1, alpha=1)", addmv},
    {"outer(self, vec2)", outer},
};

}  // namespace

extern const AtenTable k_matmul;
const AtenTable k_matmul = kOps;

}  // namespace regraft::lowering::aten
