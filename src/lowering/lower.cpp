#include "lowering/lower.h"

#include <algorithm>

#include "base/fail.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "lowering/importer.h"
#include "lowering/passes/passes.h"

namespace regraft::lowering {
namespace {

struct Pass {
  std::string_view name;
  void (*run)(ir::Graph& graph);
};

constexpr Pass kPipeline[] = {
    {"simplify", passes::simplify},
    {"fold-scalars", passes::fold_scalars},
    {"fuse-linear", passes::fuse_linear},        // Gives attention its batch dimensions back.
    {"fuse-attention", passes::fuse_attention},  // Masks are choices of numbers by now.
    {"fuse-activations", passes::fuse_activations},
    {"fuse-norms", passes::fuse_norms},
    {"clean-up", passes::simplify},  // Views that met because of the fusions.
};

std::string pass_list() {
  std::vector<std::string> names;
  for (const Pass& pass : kPipeline)
    names.emplace_back(pass.name);
  return base::join(names, ", ");
}

const Pass& find_pass(std::string_view name) {
  for (const Pass& pass : kPipeline) {
    if (pass.name == name) return pass;
  }
  base::fail("lowering", ErrorCode::NotFound, "no pass '", name, "'; have ", pass_list());
}

void run_checked(const Pass& pass, ir::Graph& graph) {
  pass.run(graph);
  graph.erase_dead_nodes();
  ir::verify(graph);
}

}  // namespace

std::vector<std::string_view> pass_names() {
  std::vector<std::string_view> names;
  for (const Pass& pass : kPipeline)
    names.push_back(pass.name);
  return names;
}

void run_pass(std::string_view name, ir::Graph& graph) { run_checked(find_pass(name), graph); }

std::unique_ptr<ir::Graph> lower(const Program& program, const LoweringOptions& options) {
  for (const std::string& name : options.disabled_passes)
    find_pass(name);
  std::unique_ptr<ir::Graph> graph = Importer(program.impl(), options.allow_opaque).run();
  ir::verify(*graph);
  if (options.dump) options.dump("import", ir::print(*graph));
  for (const Pass& pass : kPipeline) {
    const auto& disabled = options.disabled_passes;
    if (std::find(disabled.begin(), disabled.end(), pass.name) != disabled.end()) continue;
    run_checked(pass, *graph);
    if (options.dump) options.dump(pass.name, ir::print(*graph));
  }
  graph->erase_unused_parameters();
  return graph;
}

}  // namespace regraft::lowering
