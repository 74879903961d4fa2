#pragma once

#include "ir/graph.h"

namespace regraft::ir {

// Checks that every value is defined in this graph before its use, that uses and producers agree,
// that no node reads a value of a later region than its own, that types are what inference gives,
// and that every symbol is a size of an input. Throws Error{"ir", Internal} naming the first node
// that breaks a rule. Linear in the size of the graph.
void verify(const Graph& graph);

}  // namespace regraft::ir
