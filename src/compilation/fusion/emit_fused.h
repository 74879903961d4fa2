#pragma once

#include "compilation/fusion/target.h"
#include "ir/graph.h"
#include "plan/plan.h"

namespace regraft::compilation {

// The plan of a fused graph. Views become buffers, the other nodes steps of the target's kernels
// or, without one, of the reference backend's; results lie in memory as layout.h says.
plan::Plan emit_fused(const ir::Graph& graph, const FusionTarget& target);

}  // namespace regraft::compilation
