#pragma once

#include "ir/graph.h"
#include "plan/plan.h"

namespace regraft::cpu {

// The plan of a fused graph. Views become buffers, the other nodes steps of this backend's kernels
// or, without one, of the reference backend's; results lie in memory as layout.h says.
plan::Plan emit(const ir::Graph& graph);

}  // namespace regraft::cpu
