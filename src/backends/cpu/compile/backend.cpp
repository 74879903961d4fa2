#include "backends/cpu/compile/backend.h"

#include "backends/cpu/compile/emit.h"
#include "backends/cpu/compile/fuse_epilogues.h"
#include "backends/cpu/compile/fuse_pointwise.h"
#include "backends/cpu/compile/lift_linears.h"
#include "backends/cpu/compile/sink_permutes.h"

namespace regraft::cpu {
namespace {

using compilation::Settings;
using compilation::Support;

class CpuBackend final : public compilation::CompileBackend {
 public:
  std::string_view name() const override { return "cpu"; }

  Support supports(const ir::Node& node) const override {
    if (node.op().is_opaque()) return Support::no("not an op of the catalogue");
    return Support::supported();
  }

  plan::Plan compile(ir::Graph& graph, const Settings&) const override {
    lift_linears(graph);
    // After lift_linears: its reshapes no longer stand between products and permutes.
    sink_permutes(graph);
    fuse_epilogues(graph);
    fuse_pointwise(graph);  // After epilogues, which want the ops next to them.
    return emit(graph);
  }
};

}  // namespace

const compilation::CompileBackend& compile_backend() {
  static const CpuBackend backend;
  return backend;
}

}  // namespace regraft::cpu
