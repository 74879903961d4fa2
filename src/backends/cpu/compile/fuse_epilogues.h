#pragma once

#include "ir/graph.h"

namespace regraft::cpu {

// Convolutions, linears and matmuls of the compute and shape programs become opaque nodes
// "cpu.<op>" with an attribute `epilogue` (see run/epilogue.h) that takes over the activations,
// residual additions and products which are the only readers of their results. Biases are taken in
// f32 where a cast is all that made them something else.
void fuse_epilogues(ir::Graph& graph);

}  // namespace regraft::cpu
