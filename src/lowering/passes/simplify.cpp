#include "lowering/passes/passes.h"

namespace regraft::lowering::passes {

void simplify(ir::Graph& graph) { graph.erase_dead_nodes(); }

}  // namespace regraft::lowering::passes
