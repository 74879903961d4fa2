#pragma once

#include "ir/graph.h"

// Rewrites of the imported graph, each in a file of its own. They keep every output's values (up to
// rounding), and the origins of the nodes they replace.
namespace regraft::lowering::passes {

void simplify(ir::Graph& graph);

}  // namespace regraft::lowering::passes
