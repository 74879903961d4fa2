#include "compilation/fusion/lift_linears.h"

#include <array>

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Value;

// The dims of the reshape's operand with the trailing ones that make the last dimension of `x`
// merged; empty where x is not such a reshape, or already has these dims.
SymDims unmerged_dims(const Value& x) {
  const Node* reshape = x.producer();
  if (reshape == nullptr || !reshape->is("reshape")) return {};
  const SymDims& from = reshape->input(size_t{0})->dims();
  SymInt last = 1;
  for (size_t d = from.size(); d-- > 1;) {
    last = last * from[d];
    if (!(last == x.dims().back())) continue;
    SymDims dims(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(d));
    dims.push_back(last);
    return dims.size() > x.dims().size() ? dims : SymDims{};
  }
  return {};
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

Node* add_like(ir::Graph& graph, Node* node, std::string_view op, std::span<Value* const> inputs,
               Attributes attributes) {
  Node* made = graph.add(op, inputs, std::move(attributes), node, node->name());
  made->set_origin(node->origin());
  made->set_region(node->region());
  return made;
}

}  // namespace

void lift_linears(ir::Graph& graph) {
  for (Node* node : graph.node_list()) {
    if (!node->is("linear") || node->region() == ir::Region::Weight) continue;
    const SymDims lifted = unmerged_dims(*node->input(size_t{0}));
    if (lifted.empty()) continue;
    Value* x = node->input(size_t{0})->producer()->input(size_t{0});
    if (x->dims() != lifted) {
      x = add_like(graph, node, "reshape", std::array{x}, {{"dims", lifted}})->output();
    }
    Value* old = node->output();
    const SymDims dims = old->dims();
    Node* linear = add_like(graph, node, "linear", std::array{x, node->input(1), node->input(2)},
                            node->attributes());
    Node* reshape =
        add_like(graph, node, "reshape", std::array{linear->output()}, {{"dims", dims}});
    graph.replace_uses(old, reshape->output());
    graph.erase(node);
    fold_reshapes(graph, reshape->output());
  }
  graph.erase_dead_nodes();
}

}  // namespace regraft::compilation
