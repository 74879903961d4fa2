#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "program/exported.h"
#include "regraft/compile.h"

namespace regraft::partitioning {

// An engine knows a symbol by the sizes of its inputs. Adds, for every symbol of the inputs' types
// and of `numbers` that no input determines, the size of one of the `available` tensors that does.
// Returns the symbol that none determines.
std::optional<std::string> add_size_inputs(const program::ExportedProgram& program,
                                           const std::set<std::string>& numbers,
                                           const std::vector<std::string>& available,
                                           std::vector<SegmentInput>& inputs);

}  // namespace regraft::partitioning
