#include "compilation/rewrite.h"

#include <algorithm>

#include "compilation/hoist.h"

namespace regraft::compilation {

ir::Value* Rewriter::call(std::string_view op, std::initializer_list<ir::Value*> inputs,
                          Attributes attributes, std::string_view name) {
  return call(op, std::span<ir::Value* const>(inputs.begin(), inputs.size()), std::move(attributes),
              name);
}

ir::Value* Rewriter::call(std::string_view op, std::span<ir::Value* const> inputs,
                          Attributes attributes, std::string_view name) {
  ir::Node* node = graph_.add(op, inputs, std::move(attributes), before_, name);
  node->set_origin(origin_);
  return node->output();
}

ir::Value* Rewriter::cast(ir::Value* x, DType dtype) {
  return x->dtype() == dtype ? x : call("cast", {x}, {{"dtype", dtype}});
}

ir::Value* Rewriter::reshape(ir::Value* x, SymDims dims) {
  return x->dims() == dims ? x : call("reshape", {x}, {{"dims", std::move(dims)}});
}

WeightValues::WeightValues(const ir::Graph& graph) {
  for (const auto& node : graph.nodes()) {
    const bool from_weights = std::all_of(node->inputs().begin(), node->inputs().end(),
                                          [&](const ir::Value* input) { return contains(input); });
    if (from_weights && !node->op().is_opaque() && !depends_on_symbols(*node)) {
      nodes_.insert(node.get());
    }
  }
}

bool WeightValues::contains(const ir::Value* value) const {
  if (value == nullptr || value->is_parameter()) return true;
  return value->producer() != nullptr && nodes_.contains(value->producer());
}

void move_weight_values_first(ir::Graph& graph) {
  const WeightValues weights(graph);
  ir::Node* first_other = nullptr;
  for (ir::Node* node : graph.node_list()) {
    if (!weights.contains(node->output())) {
      if (first_other == nullptr) first_other = node;
    } else if (first_other != nullptr) {
      graph.move_before(node, first_other);
    }
  }
}

void replace(ir::Node* node, ir::Value* by) {
  ir::Graph& graph = node->graph();
  const std::string name = node->name();
  graph.replace_uses(node->output(), by);
  graph.erase(node);
  if (by->producer() != nullptr) graph.rename(by, name);
}

}  // namespace regraft::compilation
