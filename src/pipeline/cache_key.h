#pragma once

#include <string>

#include "cache/names.h"
#include "ir/graph.h"
#include "regraft/compile.h"

namespace regraft::pipeline {

struct GraphKey {
  std::string digest;  // Of text().
  cache::Names names;
};

// The key of a lowered graph whose optimum is set. Every pair of graphs that compile() could tell
// apart, for any weights, has two digests.
GraphKey graph_key(const ir::Graph& graph, const CompileOptions& options);

// What the digest is taken of: settings and versions, then the graph in a form in which inputs,
// parameters, symbols and results are numbered. Nothing is left out because it is a default.
std::string canonical_text(const ir::Graph& graph, const CompileOptions& options);

}  // namespace regraft::pipeline
