#include "compilation/pipeline.h"

#include <algorithm>
#include <chrono>

#include "base/fail.h"
#include "compilation/fold_attention_scale.h"
#include "compilation/fold_batch_norm.h"
#include "compilation/hoist.h"
#include "compilation/lower_precision.h"
#include "compilation/merge_linears.h"
#include "compilation/simplify.h"
#include "ir/verify.h"

namespace regraft::compilation {
namespace {

constexpr Pass kPipeline[] = {
    {"simplify", simplify},
    // After simplify: equal nodes have equal operands only once no-ops are gone.
    {"merge-common", merge_common},
    {"fold-batch-norm", fold_batch_norm},
    {"fold-attention-scale", fold_attention_scale},
    // After merge-common: linears of equal inputs then read one value.
    {"merge-linears", merge_linears},
    // After every pass that calculates weights: they stay in f32 and are rounded once.
    {"lower-precision", lower_precision},
    // Casts that lower-precision put back to back.
    {"simplify", simplify},
    {"merge-common", merge_common},
    {"erase-dead", erase_dead},
    // Last: everything that does not depend on inputs leaves the compute program.
    {"hoist", hoist},
};

}  // namespace

std::span<const Pass> passes() { return kPipeline; }

const Pass& pass(std::string_view name) {
  std::vector<std::string> names;
  for (const Pass& pass : kPipeline) {
    if (pass.name == name) return pass;
    names.emplace_back(pass.name);
  }
  const auto close = base::nearest(name, names);
  base::fail(
      "compilation", ErrorCode::InvalidArgument, "no pass named '", name, "'",
      close ? "; did you mean '" + *close + "'?" : "; want one of " + base::join(names, ", "));
}

void optimise(ir::Graph& graph, const Settings& settings, const PassObserver& observer) {
  for (const std::string& name : settings.disabled_passes) {
    if (pass(name).name == "hoist") {
      base::fail("compilation", ErrorCode::InvalidArgument,
                 "the pass 'hoist' makes the weight program and cannot be disabled");
    }
  }
  // Passes know one region; the last of them makes three.
  for (const auto& node : graph.nodes())
    node->set_region(ir::Region::Compute);
  for (const Pass& pass : kPipeline) {
    const auto& disabled = settings.disabled_passes;
    if (std::find(disabled.begin(), disabled.end(), pass.name) != disabled.end()) continue;
    const auto begin = std::chrono::steady_clock::now();
    pass.run(graph, settings);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    ir::verify(graph);
    if (observer) observer(pass.name, graph, seconds.count());
  }
  verify_hoisted(graph, settings);
}

}  // namespace regraft::compilation
