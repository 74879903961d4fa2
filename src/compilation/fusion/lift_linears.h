#pragma once

#include "ir/graph.h"

namespace regraft::compilation {

// linear(reshape(x)), where the reshape merges leading dimensions, becomes reshape(linear(x)): what
// follows sees the dims of x, and residual additions meet it. Trailing dimensions (heads) that the
// reshape merges too are merged by a reshape of their own.
void lift_linears(ir::Graph& graph);

}  // namespace regraft::compilation
