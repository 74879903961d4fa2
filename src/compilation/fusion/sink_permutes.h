#pragma once

#include "ir/graph.h"

namespace regraft::compilation {

// op(permute(product), y) becomes permute(op(product, y permuted back)) for the ops that an
// epilogue can take over, so that it does: residual additions behind a transposed linear, scales
// per channel between permutes. The permutations of y are views.
void sink_permutes(ir::Graph& graph);

}  // namespace regraft::compilation
