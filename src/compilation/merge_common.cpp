#include <map>
#include <string>

#include "base/text.h"
#include "compilation/simplify.h"
#include "tensor/attributes.h"

namespace regraft::compilation {

// Every op of the catalogue is a function of its operands and attributes, so equal nodes have equal
// results. Operands are already merged when a node is looked at.
void merge_common(ir::Graph& graph, const Settings&) {
  std::map<std::string, ir::Node*> seen;
  for (ir::Node* node : graph.node_list()) {
    if (node->op().is_opaque()) continue;
    std::string key = node->op().name;
    for (const ir::Value* input : node->inputs()) {
      key += base::cat(' ', static_cast<const void*>(input));
    }
    for (const auto& [name, value] : node->attributes().entries()) {
      key += base::cat(' ', name, '=', value.index(), ':', to_string(value));
    }
    const auto [at, is_new] = seen.emplace(std::move(key), node);
    if (is_new) continue;
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      graph.replace_uses(node->output(i), at->second->output(i));
    }
    graph.erase(node);
  }
}

void erase_dead(ir::Graph& graph, const Settings&) { graph.erase_dead_nodes(); }

}  // namespace regraft::compilation
