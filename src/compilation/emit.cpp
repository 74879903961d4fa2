#include "compilation/emit.h"

#include "compilation/plan_builder.h"

namespace regraft::compilation {

plan::Plan emit(const ir::Graph& graph, const EmitOptions& options) {
  PlanBuilder builder(graph, options.backend);
  for (const auto& node : graph.nodes()) {
    if (PlanBuilder::is_packing_cast(*node)) continue;
    if (options.alias_views && builder.try_alias(*node)) continue;
    builder.add_step(*node, options.backend + "." + node->op().name);
  }
  return builder.finish();
}

}  // namespace regraft::compilation
