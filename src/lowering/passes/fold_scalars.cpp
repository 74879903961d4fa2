#include <cmath>

#include "lowering/passes/passes.h"
#include "lowering/passes/rewrite.h"
#include "lowering/values.h"

namespace regraft::lowering::passes {
namespace {

// The number that every element of `value` is, as a Scalar of its dtype's category; None when it
// is no constant or rounding to the dtype changed it.
Attribute scalar_value(const ir::Value* value) {
  if (value == nullptr || value->producer() == nullptr || !value->producer()->is("full")) return {};
  const auto number = constant_of(value);
  if (!number) return {};
  const DType dtype = value->dtype();
  if (dtype == DType::Bool) return *number != 0;
  if (is_integral(dtype)) {
    const Attribute& exact = *value->producer()->attributes().find("value");
    if (std::holds_alternative<SymInt>(exact)) return exact;
    return {};
  }
  const bool is_exact = dtype == DType::F64 || dtype == DType::F32 || *number == 0 ||
                        std::isinf(*number) || std::fabs(*number) == 1;
  return is_floating(dtype) && is_exact ? Attribute(*number) : Attribute();
}

std::string scalar_name(const ir::Node* node, size_t input) {
  return node->is("where") ? (input == 1 ? "x_scalar" : "y_scalar") : "scalar";
}

bool takes_scalars(const ir::Node* node) {
  return node->op().schema.find("scalar") != nullptr || node->is("where");
}

// The result must keep its type: a filled tensor may broadcast, and outranks a number in promotion.
void fold_node(ir::Graph& graph, ir::Node* node) {
  if (!takes_scalars(node)) return;
  for (size_t i = node->is("where") ? 1 : 0; i < node->inputs().size(); ++i) {
    const Attribute scalar = scalar_value(node->input(i));
    if (std::holds_alternative<std::monostate>(scalar)) continue;
    const std::string name = scalar_name(node, i);
    if (!node->attributes().is_none(name)) continue;
    std::vector<ir::Value*> inputs(node->inputs().begin(), node->inputs().end());
    inputs[i] = nullptr;
    Attributes attributes = node->attributes();
    attributes.set(name, scalar);
    std::vector<const TensorType*> types;
    for (const ir::Value* input : inputs)
      types.push_back(input ? &input->type() : nullptr);
    try {
      Attributes checked = attributes;
      if (!(ops::infer_types(node->op(), types, checked)[0] == node->output()->type())) continue;
    } catch (const Error&) {
      continue;
    }
    graph.set_input(node, i, nullptr);
    graph.set_attributes(node, attributes);
  }
}

}  // namespace

void fold_scalars(ir::Graph& graph) {
  for_each_used(graph, [&](ir::Node* node) { fold_node(graph, node); });
}

}  // namespace regraft::lowering::passes
