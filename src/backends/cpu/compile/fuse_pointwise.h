#pragma once

#include "ir/graph.h"

namespace regraft::cpu {

// Pointwise nodes of every region, alone or as chains whose inner results nothing else reads,
// become opaque nodes "cpu.pointwise" with an attribute `program`. Inputs of the result's type come
// first: the step may then run in place.
void fuse_pointwise(ir::Graph& graph);

}  // namespace regraft::cpu
