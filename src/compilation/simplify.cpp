#include "compilation/simplify.h"

#include <cmath>

#include "compilation/view_rules.h"

namespace regraft::compilation {
namespace {

using Rule = ir::Value* (*)(const ir::Node& node, Rewriter& at);

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
      case DType::F8E5M2:
        return 3;
      case DType::F8E4M3FN:
        return 4;
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
    const bool is_short = to == DType::F16 || to == DType::BF16;
    const bool fits_exponent =
        to == DType::F64 || to == DType::F32 || (is_short && is_float8(from));
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

struct NamedRule {
  std::string_view op;  // Empty: of any op.
  Rule rule;
};

constexpr NamedRule kRules[] = {
    {"cast", cast_rule},       {"reshape", reshape_rule},  {"reshape", reshape_of_permute_rule},
    {"permute", permute_rule}, {"permute", sandwich_rule}, {"expand", expand_rule},
    {"slice", slice_rule},     {"repeat", repeat_rule},    {"cat", cat_rule},
    {"index", index_rule},     {"mul", arithmetic_rule},   {"div", arithmetic_rule},
    {"add", arithmetic_rule},  {"sub", arithmetic_rule},   {"pow", arithmetic_rule},
    {"", implied_expand_rule}, {"", sink_expand_rule},
};

bool try_rules(ir::Graph& graph, ir::Node* node) {
  for (const auto& [op, rule] : kRules) {
    if (!op.empty() && !node->is(op)) continue;
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
