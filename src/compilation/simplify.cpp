#include "compilation/simplify.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "compilation/rewrite.h"

namespace regraft::compilation {
namespace {

// A rule looks at one node and returns the value that may stand for its result, made in front of it
// where need be; null when it has nothing to say.
using Rule = ir::Value* (*)(const ir::Node& node, Rewriter& at);

ir::Node* producer_of(const ir::Node& node, std::string_view op) {
  ir::Node* producer = node.input(size_t{0})->producer();
  return producer != nullptr && producer->is(op) ? producer : nullptr;
}

std::vector<size_t> order_of(const ir::Node& permute) {
  std::vector<size_t> order;
  const Dims dims = permute.attributes().integers("dims");
  for (const int64_t dim : dims) {
    order.push_back(static_cast<size_t>(dim < 0 ? dim + static_cast<int64_t>(dims.size()) : dim));
  }
  return order;
}

// Which floating types hold every value of another, and which integers.
bool is_lossless(DType from, DType to) {
  const auto digits = [](DType dtype) {
    switch (dtype) {
      case DType::Bool:
        return 1;
      case DType::U8:
        return 8;
      case DType::I8:
        return 7;
      case DType::I16:
        return 15;
      case DType::I32:
        return 31;
      case DType::I64:
        return 63;
      case DType::BF16:
        return 8;
      case DType::F16:
        return 11;
      case DType::F32:
        return 24;
      case DType::F64:
        return 53;
      default:
        return 0;
    }
  };
  if (from == to) return true;
  if (is_complex(from) || is_complex(to)) return false;
  if (is_floating(from)) {
    const bool fits_exponent = to == DType::F64 || to == DType::F32;
    return fits_exponent && digits(from) <= digits(to);
  }
  const bool is_unsigned = to == DType::U8 || to == DType::Bool;
  if (is_unsigned) return from == DType::Bool;
  return digits(from) <= digits(to);
}

// cast(x) of the same dtype; cast(cast(x)) through a type that holds every value of x's.
ir::Value* cast_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  const DType to = node.output()->dtype();
  if (x->dtype() == to) return x;
  const ir::Node* inner = producer_of(node, "cast");
  if (inner == nullptr || !is_lossless(inner->input(size_t{0})->dtype(), x->dtype())) {
    return nullptr;
  }
  return at.cast(inner->input(size_t{0}), to);
}

// reshape(x) to x's sizes; reshape(reshape(x)).
ir::Value* reshape_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  if (x->dims() == node.output()->dims()) return x;
  const ir::Node* inner = producer_of(node, "reshape");
  return inner == nullptr ? nullptr : at.reshape(inner->input(size_t{0}), node.output()->dims());
}

// permute(x) that leaves every size but those of 1 in place is a reshape; permute(permute(x)).
ir::Value* permute_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  const std::vector<size_t> order = order_of(node);
  if (std::is_sorted(order.begin(), order.end())) return x;
  if (const ir::Node* inner = producer_of(node, "permute")) {
    const std::vector<size_t> first = order_of(*inner);
    SymDims both;
    for (const size_t dim : order)
      both.push_back(static_cast<int64_t>(first[dim]));
    return at.call("permute", {inner->input(size_t{0})}, {{"dims", both}});
  }
  std::vector<size_t> moved;
  for (const size_t dim : order) {
    if (!(x->dims()[dim] == SymInt(1))) moved.push_back(dim);
  }
  if (!std::is_sorted(moved.begin(), moved.end())) return nullptr;
  return at.reshape(x, node.output()->dims());
}

ir::Value* expand_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  if (x->dims() == node.output()->dims()) return x;
  const ir::Node* inner = producer_of(node, "expand");
  if (inner == nullptr) return nullptr;
  return at.call("expand", {inner->input(size_t{0})}, {{"dims", node.output()->dims()}});
}

// The whole of x: the same size, in steps of 1. (A slice that is as long as x begins at 0.)
ir::Value* slice_rule(const ir::Node& node, Rewriter&) {
  ir::Value* x = node.input(size_t{0});
  const SymInt& step = node.attributes().size("step");
  return x->dims() == node.output()->dims() && step == SymInt(1) ? x : nullptr;
}

ir::Value* repeat_rule(const ir::Node& node, Rewriter& at) {
  const SymDims& repeats = node.attributes().sizes("repeats");
  const bool once = std::all_of(repeats.begin(), repeats.end(),
                                [](const SymInt& count) { return count == SymInt(1); });
  return once ? at.reshape(node.input(size_t{0}), node.output()->dims()) : nullptr;
}

// cat of one tensor.
ir::Value* cat_rule(const ir::Node& node, Rewriter&) {
  return node.inputs().size() == 1 ? node.input(size_t{0}) : nullptr;
}

// x with a Scalar that changes no value of it. x + 0.0 is none: it turns -0 into 0.
ir::Value* arithmetic_rule(const ir::Node& node, Rewriter&) {
  const Attributes& attributes = node.attributes();
  const Attribute* scalar = attributes.find("scalar");
  const bool is_symbolic = scalar != nullptr && std::holds_alternative<SymInt>(*scalar) &&
                           !std::get<SymInt>(*scalar).is_constant();
  if (attributes.is_none("scalar") || is_symbolic) return nullptr;
  const double value = attributes.number("scalar");
  ir::Value* x = node.input("x");
  const bool is_left = x == nullptr;
  if (is_left) x = node.input("y");
  if (!(x->type() == node.output()->type())) return nullptr;
  if (node.is("mul")) return value == 1 ? x : nullptr;
  if (node.is("add")) return value == 0 && is_integral(x->dtype()) ? x : nullptr;
  if (is_left) return nullptr;
  if (node.is("sub")) return value == 0 && !std::signbit(value) ? x : nullptr;
  if (node.is("div")) return value == 1 && attributes.is_none("rounding") ? x : nullptr;
  if (node.is("pow")) return value == 1 ? x : nullptr;
  return nullptr;
}

// permute(f(permute(x))) where the permutations cancel and f is one pointwise op on x alone.
ir::Value* sandwich_rule(const ir::Node& node, Rewriter& at) {
  const ir::Node* middle = node.input(size_t{0})->producer();
  if (middle == nullptr || !middle->op().has(ops::kPointwise) || middle->op().is_opaque() ||
      middle->outputs().size() != 1 || !has_one_use(*middle->output())) {
    return nullptr;
  }
  std::vector<ir::Value*> inputs(middle->inputs().begin(), middle->inputs().end());
  ir::Value** x = nullptr;
  for (ir::Value*& input : inputs) {
    if (input == nullptr) continue;
    if (x != nullptr) return nullptr;
    x = &input;
  }
  if (x == nullptr || (*x)->producer() == nullptr || !(*x)->producer()->is("permute")) {
    return nullptr;
  }
  const ir::Node& inner = *(*x)->producer();
  const std::vector<size_t> first = order_of(inner);
  const std::vector<size_t> second = order_of(node);
  for (size_t i = 0; i < second.size(); ++i) {
    if (first[second[i]] != i) return nullptr;
  }
  *x = inner.input(size_t{0});
  return at.call(middle->op().name, inputs, middle->attributes(), middle->name());
}

struct NamedRule {
  std::string_view op;
  Rule rule;
};

constexpr NamedRule kRules[] = {
    {"cast", cast_rule},        {"reshape", reshape_rule}, {"permute", permute_rule},
    {"permute", sandwich_rule}, {"expand", expand_rule},   {"slice", slice_rule},
    {"repeat", repeat_rule},    {"cat", cat_rule},         {"mul", arithmetic_rule},
    {"div", arithmetic_rule},   {"add", arithmetic_rule},  {"sub", arithmetic_rule},
    {"pow", arithmetic_rule},
};

bool try_rules(ir::Graph& graph, ir::Node* node) {
  for (const auto& [op, rule] : kRules) {
    if (!node->is(op)) continue;
    Rewriter at(graph, node, node->origin());
    if (ir::Value* by = rule(*node, at)) {
      replace(node, by);
      return true;
    }
  }
  return false;
}

}  // namespace

void simplify(ir::Graph& graph, const Settings&) {
  // Every rule removes a node or shortens a chain, so this ends.
  for (bool changed = true; changed;) {
    changed = false;
    for (ir::Node* node : graph.node_list())
      changed = try_rules(graph, node) || changed;
    graph.erase_dead_nodes();
  }
}

}  // namespace regraft::compilation
