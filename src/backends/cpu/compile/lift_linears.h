#pragma once

#include "ir/graph.h"

namespace regraft::cpu {

// linear(reshape(x)), where the reshape only merges leading dimensions, becomes
// reshape(linear(x)): what follows sees the dims of x, and residual additions meet it.
void lift_linears(ir::Graph& graph);

}  // namespace regraft::cpu
