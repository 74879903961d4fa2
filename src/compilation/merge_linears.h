#pragma once

#include "compilation/compile_backend.h"

namespace regraft::compilation {

// Makes one linear of those that read the same input (query, key and value; gate and up): the
// weight program concatenates their weights and biases, and each result becomes a slice.
void merge_linears(ir::Graph& graph, const Settings& settings);

}  // namespace regraft::compilation
