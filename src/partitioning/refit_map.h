#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace regraft::partitioning {

// One way from a parameter to a constant: the ops of the weight program that it passes, in order.
struct RefitPath {
  const ir::Value* parameter = nullptr;
  const ir::Value* constant = nullptr;  // The parameter itself where nothing is computed.
  std::vector<const ir::Node*> steps;
};

// Which parameter feeds which constants, read from the weight program of a hoisted graph: every
// value of it (or parameter) that a later program reads or that is returned is a constant. In the
// order of the parameters.
std::vector<RefitPath> refit_map(const ir::Graph& graph);

// The map as text, and for each parameter that feeds nothing a line that says so.
std::string refit_map_text(const ir::Graph& graph);

}  // namespace regraft::partitioning
