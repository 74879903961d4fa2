#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace regraft::compilation {

// Whether the node can be an instruction of a pointwise program (docs/adding_a_backend.md).
bool is_program_op(const ir::Node& node);

// Appends the node's instructions to `lines`, given the text of each operand ("i0", "r3"); gives
// the text of the result.
std::string append_instructions(const ir::Node& node,
                                const std::function<std::string(const ir::Value*)>& operand,
                                std::vector<std::string>& lines);

}  // namespace regraft::compilation
