#pragma once

#include <cstdint>
#include <memory>

#include "ir/graph.h"

namespace regraft::ir::test {

// A valid graph made of `seed`: symbolic inputs, tied and oddly named parameters, ops of every kind
// of operand and attribute, several results, repeated and renamed outputs, three regions.
std::unique_ptr<Graph> random_graph(uint64_t seed);

}  // namespace regraft::ir::test
