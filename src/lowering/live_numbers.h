#pragma once

#include <set>
#include <string>
#include <string_view>

#include "program/exported.h"

namespace regraft::lowering {

// Asserts and hints about sizes, by the op's short name: the engine checks shapes itself.
bool is_check(std::string_view name);

// An op's name without "torch.ops.".
std::string_view short_target(std::string_view target);

// Names of the numbers of a graph that something but checks reads, be it through other numbers.
std::set<std::string, std::less<>> live_numbers(const program::ExportedGraph& graph);

}  // namespace regraft::lowering
