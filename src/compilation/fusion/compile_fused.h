#pragma once

#include "compilation/fusion/target.h"
#include "ir/graph.h"
#include "plan/plan.h"

namespace regraft::compilation {

// The passes of this folder, one after the other: what a backend with fused kernels makes of its
// graph.
plan::Plan compile_fused(ir::Graph& graph, const FusionTarget& target);

}  // namespace regraft::compilation
