#pragma once

#include "compilation/compile_backend.h"

namespace regraft::compilation {

// Removes what changes nothing, exactly: casts, reshapes, permutations, slices and expansions that
// cancel or do nothing, and arithmetic with a neutral Scalar (x * 1, x / 1, x - 0, x + 0 for
// integers). Repeats until nothing is left to remove.
void simplify(ir::Graph& graph, const Settings& settings);

// Makes one node of those with the same op, operands and attributes.
void merge_common(ir::Graph& graph, const Settings& settings);

// Erases nodes whose results nothing reads.
void erase_dead(ir::Graph& graph, const Settings& settings);

}  // namespace regraft::compilation
