#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "compilation/compile_backend.h"
#include "ir/graph.h"

namespace regraft::compilation {

// A named change of a graph that keeps its meaning: the same outputs for every input and every
// value of the parameters, up to rounding where the pass says so. Passes read no weight values.
struct Pass {
  std::string_view name;
  void (*run)(ir::Graph& graph, const Settings& settings);
};

// Every pass, in the order in which optimise() runs them.
std::span<const Pass> passes();
// Throws Error{"compilation", InvalidArgument} with the nearest name.
const Pass& pass(std::string_view name);

// Called after each pass with the graph it left and the seconds it took.
using PassObserver =
    std::function<void(std::string_view pass, const ir::Graph& graph, double seconds)>;

// Runs the passes that `settings` does not disable; verifies the graph after each. The result is
// hoisted. Throws Error{"compilation", InvalidArgument} for an unknown name in disabled_passes or
// one that cannot be disabled.
void optimise(ir::Graph& graph, const Settings& settings, const PassObserver& observer = {});

}  // namespace regraft::compilation
