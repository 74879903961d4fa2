#pragma once

#include <string>

#include "ir/graph.h"
#include "plan/plan.h"

namespace regraft::compilation {

struct EmitOptions {
  std::string backend;
  // Reshapes, permutations, slices and expansions become views where strides can express them.
  bool alias_views = false;
};

// A plan with one step "<backend>.<op>" per node of a verified, hoisted graph: what a backend
// without fusions needs. Backends with their own ideas use PlanBuilder.
plan::Plan emit(const ir::Graph& graph, const EmitOptions& options);

}  // namespace regraft::compilation
