#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace regraft::lowering {

// What a lowered graph computes, in a short form that another export of the model can be compared
// with: one line per op, "relu:1f3a09bc", then one for the results. Equal for every dialect and for
// other sizes of the inputs: parameters enter by name, values and inputs by position; sizes do not
// enter, nor do views that only say them.
std::vector<std::string> outline(const ir::Graph& graph);

}  // namespace regraft::lowering
