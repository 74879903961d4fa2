#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "regraft/program.h"

namespace regraft::lowering {

struct LoweringOptions {
  // Names of passes to leave out; "import" cannot be. Unknown names are errors.
  std::vector<std::string> disabled_passes;
  // Ops without a lowering stay as opaque nodes (named by their target, e.g.
  // "aten.nonzero.default"), where that is sound; otherwise any of them is an error.
  bool allow_opaque = false;
  // Called with the name of each pass and the graph after it in text form.
  std::function<void(std::string_view pass, const std::string& text)> dump;
};

// Makes one functional graph over the op catalogue of a program in any dialect. Its parameters are
// those the graph reads, ties as aliases; every node knows the exported node it comes from.
// Throws Error{"lowering", Unsupported} that lists every op it cannot lower: how many nodes use it
// and where in the model the first stands.
std::unique_ptr<ir::Graph> lower(const Program& program, const LoweringOptions& options = {});

// Runs one pass on a graph. Throws Error{"lowering", NotFound} for an unknown name.
void run_pass(std::string_view name, ir::Graph& graph);
// Names of the passes in their order, without "import".
std::vector<std::string_view> pass_names();

}  // namespace regraft::lowering
