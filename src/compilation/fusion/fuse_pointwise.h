#pragma once

#include "compilation/fusion/target.h"
#include "ir/graph.h"

namespace regraft::compilation {

// Pointwise nodes of every region, alone or as chains whose inner results nothing else reads,
// become opaque nodes "<backend>.pointwise" with an attribute `program`. Inputs of the result's
// type come first: the step may then run in place.
void fuse_pointwise(ir::Graph& graph, const FusionTarget& target);

}  // namespace regraft::compilation
