#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "ir/graph.h"
#include "program/exported.h"
#include "regraft/program.h"

namespace regraft::lowering {

// What importing one node of an exported program came to. Valid during the call that gets it.
struct Surveyed {
  const program::ExportedNode& node;
  std::string_view reason;                // Why it has no lowering; empty: it has one.
  std::span<const ir::Node* const> made;  // As imported, before any pass. Empty for mere names.
};

using OnNode = std::function<void(const Surveyed&)>;

// Imports a program node by node, in its order, and goes on where a node has no lowering. Throws
// Error{"lowering", ...} for programs that no part of could be taken: script objects, effects.
void survey(const Program& program, const OnNode& on_node);

}  // namespace regraft::lowering
