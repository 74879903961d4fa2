#pragma once

#include <functional>

#include "engine/image.h"
#include "ir/graph.h"
#include "regraft/compile.h"

namespace regraft::pipeline {

// The steps to an engine of one graph that a lookup stands between.
struct Steps {
  // By compilation; may change the graph.
  std::function<engine::Image()> compile;
  // Fills in what an image has besides its plan, which calls its parts as the graph does.
  std::function<engine::Image(engine::Image)> finish;
  std::function<Engine(engine::Image)> realise;
};

// An engine of a lowered graph whose optimum is set: of the plan that options.cache has for it, or
// compiled and left there, as the options say. Whatever is wrong with the cache, or with what comes
// out of it, is logged and ends in a compilation, whose errors are the caller's.
Engine compile_cached(const ir::Graph& graph, const CompileOptions& options, const Steps& steps);

}  // namespace regraft::pipeline
