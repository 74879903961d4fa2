#include "compilation/fusion/compile_fused.h"

#include "compilation/fusion/emit_fused.h"
#include "compilation/fusion/fuse_epilogues.h"
#include "compilation/fusion/fuse_pointwise.h"
#include "compilation/fusion/lift_linears.h"
#include "compilation/fusion/sink_permutes.h"

namespace regraft::compilation {

plan::Plan compile_fused(ir::Graph& graph, const FusionTarget& target) {
  lift_linears(graph);
  // After lift_linears: its reshapes no longer stand between products and permutes.
  sink_permutes(graph);
  fuse_epilogues(graph, target);
  // After epilogues, which want the ops next to them.
  fuse_pointwise(graph, target);
  return emit_fused(graph, target);
}

}  // namespace regraft::compilation
