#include "backends/cpu/compile/lift_linears.h"

namespace regraft::cpu {
namespace {

using ir::Node;
using ir::Value;

bool lifts(const Node& node) {
  if (!node.is("linear") || node.region() == ir::Region::Weight) return false;
  const Value* x = node.input(size_t{0});
  const Node* producer = x->producer();
  return producer != nullptr && producer->is("reshape") &&
         producer->input(size_t{0})->dims().size() > 1 &&
         producer->input(size_t{0})->dims().back() == x->dims().back();
}

// Drops reshape(reshape(x)) and reshapes to the dims that x has.
void fold_reshapes(ir::Graph& graph, Value* value) {
  for (Node* user : std::vector<Node*>(value->users())) {
    if (!user->is("reshape")) continue;
    Value* from = value->producer()->input(size_t{0});
    if (user->output()->dims() == from->dims()) {
      graph.replace_uses(user->output(), from);
    } else {
      graph.set_input(user, 0, from);
    }
  }
}

}  // namespace

void lift_linears(ir::Graph& graph) {
  for (Node* node : graph.node_list()) {
    if (!lifts(*node)) continue;
    Value* x = node->input(size_t{0})->producer()->input(size_t{0});
    Value* old = node->output();
    const SymDims dims = old->dims();
    Node* linear = graph.add("linear", {x, node->input(1), node->input(2)}, node->attributes(), node,
                             old->name());
    linear->set_origin(node->origin());
    linear->set_region(node->region());
    Node* reshape = graph.add("reshape", {linear->output()}, {{"dims", dims}}, node, old->name());
    reshape->set_origin(node->origin());
    reshape->set_region(node->region());
    graph.replace_uses(old, reshape->output());
    graph.erase(node);
    fold_reshapes(graph, reshape->output());
  }
  graph.erase_dead_nodes();
}

}  // namespace regraft::cpu
