#pragma once

#include <string_view>
#include <vector>

#include "ir/graph.h"

namespace regraft::lowering::passes {

// Emits nodes in front of the node that a pass replaces; they take its origin.
class Rewriter {
 public:
  Rewriter(ir::Graph& graph, ir::Node* root) : graph_(graph), root_(root) {}

  ir::Value* emit(std::string_view op, const std::vector<ir::Value*>& inputs,
                  Attributes attributes = {});
  // x itself where it has these dims.
  ir::Value* reshape(ir::Value* x, const SymDims& dims);
  // The last two dimensions swapped.
  ir::Value* transpose(ir::Value* x);
  // Everybody reads `by` instead of the root's only result. A value emitted here takes its name.
  void replace_root(ir::Value* by);

 private:
  ir::Graph& graph_;
  ir::Node* root_;
};

// Calls f(node) for each node that is read, in order; f may replace that node.
template <typename F>
void for_each_used(ir::Graph& graph, const F& f) {
  for (ir::Node* node : graph.node_list()) {
    bool is_used = false;
    for (const ir::Value* output : node->outputs())
      is_used = is_used || output->has_uses();
    if (is_used) f(node);
  }
}

}  // namespace regraft::lowering::passes
