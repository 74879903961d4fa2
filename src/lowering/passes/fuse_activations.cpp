#include <algorithm>
#include <cmath>
#include <limits>

#include "lowering/passes/passes.h"
#include "lowering/passes/rewrite.h"
#include "lowering/values.h"

namespace regraft::lowering::passes {
namespace {

bool is_near(double value, double want) {
  return std::fabs(value - want) <= 1e-6 * std::fabs(want);
}

// x of "x op number" (div and sub: the number on the right), or null. A product by 1/number counts
// as a quotient and the other way round.
ir::Value* operand(const ir::Value* value, std::string_view op, double number) {
  const ir::Node* node = value->producer();
  if (node == nullptr) return nullptr;
  const bool inverts = (op == "mul" && node->is("div")) || (op == "div" && node->is("mul"));
  if (!node->is(op) && !inverts) return nullptr;
  const std::optional<double> scalar = scalar_of(node);
  ir::Value* x = beside_scalar(node);
  const bool is_ordered = node->is("div") || node->is("sub");
  if (!scalar || x == nullptr || (is_ordered && node->input(1) != nullptr)) return nullptr;
  if (node->is("div") && !node->attributes().is_none("rounding")) return nullptr;
  return is_near(inverts ? 1 / *scalar : *scalar, number) ? x : nullptr;
}

// x of max(0, min(6, x)), however it is written, or null.
ir::Value* clamped_to_six(const ir::Value* value) {
  double low = -std::numeric_limits<double>::infinity(), high = -low;
  ir::Value* x = nullptr;
  // Bounds apply from the inside out; 0 and 6 commute.
  for (int i = 0; i < 2; ++i) {
    const ir::Node* node = value->producer();
    if (node == nullptr) return nullptr;
    if (node->is("relu")) {
      low = std::max(low, 0.0);
    } else if (node->is("hardtanh") ||
               (node->is("clamp") && node->input(1) == nullptr && node->input(2) == nullptr)) {
      const Attributes& bounds = node->attributes();
      if (!bounds.is_none("min")) low = std::max(low, bounds.number("min"));
      if (!bounds.is_none("max")) high = std::min(high, bounds.number("max"));
    } else {
      return nullptr;
    }
    x = node->input(0);
    if (low == 0 && high == 6) return x;
    value = x;
  }
  return nullptr;
}

// x of clamp(x + 3, 0, 6), or null.
ir::Value* hard_gate(const ir::Value* value) {
  const ir::Value* shifted = clamped_to_six(value);
  return shifted == nullptr ? nullptr : operand(shifted, "add", 3);
}

// Both operands of a product of two tensors, in the two orders.
template <typename F>
bool either_order(const ir::Node* node, const F& f) {
  ir::Value *a = node->input(0), *b = node->input(1);
  if (a == nullptr || b == nullptr) return false;
  return f(a, b) || f(b, a);
}

bool fuse_gates(ir::Graph& graph, ir::Node* node) {
  Rewriter rewrite(graph, node);
  return either_order(node, [&](ir::Value* x, ir::Value* gate) {
    const char* op = nullptr;
    if (const ir::Node* sigmoid = producer(gate, "sigmoid"); sigmoid && sigmoid->input(0) == x) {
      op = "silu";
    } else if (const ir::Node* hard = producer(gate, "hardsigmoid"); hard && hard->input(0) == x) {
      op = "hardswish";
    }
    if (op == nullptr || !is_floating(x->dtype())) return false;
    rewrite.replace_root(rewrite.emit(op, {x}));
    return true;
  });
}

// clamp(x + 3, 0, 6) / 6, times x or not.
bool fuse_hard(ir::Graph& graph, ir::Node* node) {
  ir::Value* top = operand(node->output(), "div", 6);
  if (top == nullptr || !is_floating(top->dtype())) return false;
  Rewriter rewrite(graph, node);
  if (ir::Value* x = hard_gate(top)) {
    rewrite.replace_root(rewrite.emit("hardsigmoid", {x}));
    return true;
  }
  const ir::Node* product = producer(top, "mul");
  return product != nullptr && either_order(product, [&](ir::Value* x, ir::Value* gate) {
           if (hard_gate(gate) != x) return false;
           rewrite.replace_root(rewrite.emit("hardswish", {x}));
           return true;
         });
}

// x^3, or null.
ir::Value* cubed(const ir::Value* value) {
  if (const ir::Node* pow = producer(value, "pow")) {
    return scalar_of(pow) == 3.0 && pow->input(1) == nullptr ? pow->input(0) : nullptr;
  }
  const ir::Node* mul = producer(value, "mul");
  ir::Value* found = nullptr;
  if (mul != nullptr) {
    either_order(mul, [&](ir::Value* x, ir::Value* square) {
      const ir::Node* inner = producer(square, "square");
      const ir::Node* product = producer(square, "mul");
      const bool is_square =
          (inner != nullptr && inner->input(0) == x) ||
          (product != nullptr && product->input(0) == x && product->input(1) == x);
      if (is_square) found = x;
      return is_square;
    });
  }
  return found;
}

// Whether `value` is sqrt(2/pi) * (x + 0.044715 x^3).
bool is_tanh_argument(const ir::Value* value, const ir::Value* x) {
  const ir::Value* sum = operand(value, "mul", std::sqrt(2 / M_PI));
  const ir::Node* add = sum == nullptr ? nullptr : producer(sum, "add");
  return add != nullptr && either_order(add, [&](ir::Value* plain, ir::Value* cubic) {
           const ir::Value* cube = operand(cubic, "mul", 0.044715);
           return plain == x && cube != nullptr && cubed(cube) == x;
         });
}

// "tanh" or "none" when `value` is 1 + tanh(...) or 1 + erf(x / sqrt 2) of gelu, else null.
const char* gelu_kind(const ir::Value* value, const ir::Value* x) {
  const ir::Value* function = operand(value, "add", 1);
  if (function == nullptr) return nullptr;
  if (const ir::Node* tanh = producer(function, "tanh")) {
    return is_tanh_argument(tanh->input(0), x) ? "tanh" : nullptr;
  }
  const ir::Node* erf = producer(function, "erf");
  return erf != nullptr && operand(erf->input(0), "mul", std::sqrt(0.5)) == x ? "none" : nullptr;
}

// 0.5 * x * (1 + f(x)), the half anywhere in the product.
bool fuse_gelu(ir::Graph& graph, ir::Node* node) {
  const auto try_pair = [&](ir::Value* factor, ir::Value* gate, bool is_halved) {
    ir::Value* half = operand(factor, "mul", 0.5);
    ir::Value* x = is_halved ? factor : half;
    if (x == nullptr || !is_floating(x->dtype())) return false;
    ir::Value* plain_gate = gate;
    const char* kind = gelu_kind(plain_gate, x);
    if (kind == nullptr) return false;
    Rewriter rewrite(graph, node);
    rewrite.replace_root(rewrite.emit("gelu", {x}, {{"approximate", std::string(kind)}}));
    return true;
  };
  if (either_order(node, [&](ir::Value* a, ir::Value* b) { return try_pair(a, b, false); })) {
    return true;
  }
  // (x * (1 + f(x))) * 0.5 and x * (0.5 * (1 + f(x))).
  const ir::Value* whole = operand(node->output(), "mul", 0.5);
  const ir::Node* product = whole == nullptr ? nullptr : producer(whole, "mul");
  if (product != nullptr) {
    return either_order(product, [&](ir::Value* a, ir::Value* b) { return try_pair(a, b, true); });
  }
  return either_order(node, [&](ir::Value* x, ir::Value* halved) {
    ir::Value* gate = operand(halved, "mul", 0.5);
    return gate != nullptr && try_pair(x, gate, true);
  });
}

}  // namespace

void fuse_activations(ir::Graph& graph) {
  for_each_used(graph, [&](ir::Node* node) {
    const bool is_product = node->is("mul") || node->is("div");
    if (!is_product) return;
    if (fuse_hard(graph, node)) return;
    if (node->is("mul") && !fuse_gates(graph, node)) fuse_gelu(graph, node);
  });
}

}  // namespace regraft::lowering::passes
