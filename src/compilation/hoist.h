#pragma once

#include <map>

#include "compilation/compile_backend.h"
#include "ir/graph.h"

namespace regraft::compilation {

// Moves every node to the earliest region its operands allow: weight when it depends on parameters
// and constants of the program alone, shape when it also depends on symbols of input shapes. Sorts
// the nodes by region. A result that would enlarge what is kept between runs stays in the compute
// program (keeps_in_compute); where hoisted nodes read it as well, both programs compute it.
void hoist(ir::Graph& graph, const Settings& settings);

// The earliest region of every node, whatever region it stands in now.
std::map<const ir::Node*, ir::Region> classify(const ir::Graph& graph);

// Whether storing the node's result costs memory that computing it again in every run saves: it is
// more than `settings.hoist_growth` times the size of its operands and beyond a cap, 64 KiB for
// views (which cost next to nothing to make) and 16 MiB for pointwise ops and creations. Symbols
// count with their optimum, else with 512 or the nearest size in their range.
bool keeps_in_compute(const ir::Node& node, const Settings& settings);

// Whether a size in the node's attributes or results is not known before the shapes of a run are.
bool depends_on_symbols(const ir::Node& node);

// Throws Error{"compilation", Internal} for a node that stands in a later region than it needs and
// is not kept there by keeps_in_compute, or whose sizes are not known in its region.
void verify_hoisted(const ir::Graph& graph, const Settings& settings);

}  // namespace regraft::compilation
