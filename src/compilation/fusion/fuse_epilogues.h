#pragma once

#include "compilation/fusion/target.h"
#include "ir/graph.h"

namespace regraft::compilation {

// Convolutions, linears and matmuls of the compute and shape programs become opaque nodes
// "<backend>.<op>" with an attribute `epilogue` that takes over the activations,
// residual additions and products which are the only readers of their results. Where
// the target adds f32 biases, they are taken in f32 where a cast is all that made them something
// else. Where the target widens linears, those of 16-bit operands that only a cast to f32 reads
// have a result in f32, which is never rounded to 16 bits.
void fuse_epilogues(ir::Graph& graph, const FusionTarget& target);

}  // namespace regraft::compilation
