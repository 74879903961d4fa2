#include "compilation/fusion/emit_fused.h"

#include <algorithm>

#include "compilation/fusion/layout.h"
#include "compilation/plan_builder.h"

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Value;

class Emitter {
 public:
  Emitter(const ir::Graph& graph, const FusionTarget& target)
      : graph_(graph),
        target_(target),
        builder_(graph, target.backend, target.fused("copy")),
        layouts_(graph, builder_, target) {}

  plan::Plan run() {
    for (const auto& node : graph_.nodes()) {
      if (!PlanBuilder::is_packing_cast(*node)) emit(*node);
    }
    return builder_.finish();
  }

 private:
  std::string kernel_of(const Node& node) const {
    if (node.op().is_opaque()) return node.op().name;
    const bool is_ours =
        target_.has_all_kernels || std::find(target_.kernels.begin(), target_.kernels.end(),
                                             node.op().name) != target_.kernels.end();
    return is_ours ? target_.fused(node.op().name) : "reference." + node.op().name;
  }

  void emit(const Node& node) {
    if (is_view(node) && emit_view(node)) return;
    const MemoryOrder order = layouts_.result_order(node);
    if (!Layouts::is_row_major(order)) {
      for (const Value* output : node.outputs()) {
        // Further results, such as the positions of maxima, lie as the first.
        if (output->dims().size() == order.size() && !output->is_graph_output()) {
          builder_.set_strides(output, Layouts::strides(output->dims(), order));
        }
      }
    } else if (const auto row = layouts_.row_size(node)) {
      builder_.pad_rows(node.output(), *row);
    }
    plan::Step& step = builder_.add_step(node, kernel_of(node));
    if (target_.is_fused(node, "pointwise")) step.in_place = runs_in_place(node);
    // Positions of maxima that nobody reads.
    if (node.is("max_pool") && !node.output(1)->has_uses()) step.outputs.pop_back();
  }

  static bool is_view(const Node& node) {
    return node.is("reshape") || node.is("permute") || node.is("slice") || node.is("expand");
  }

  // False where the operand is a constant, whose bytes may be packed.
  bool emit_view(const Node& node) {
    if (builder_.try_alias(node)) return true;
    const Value* from = node.input(size_t{0});
    const bool is_constant =
        node.region() != ir::Region::Weight &&
        (from->is_parameter() ||
         (from->producer() != nullptr && from->producer()->region() == ir::Region::Weight));
    if (!node.is("reshape") || is_constant) return false;
    // A reshape that strides cannot express: of a row-major copy, they can.
    const int32_t source = builder_.buffer(from, node.region());
    const int32_t copy = builder_.temporary(node.region(), from->type(), node.name() + "_copy");
    plan::Step step;
    step.kernel = target_.fused("copy");
    step.inputs = {source};
    step.outputs = {copy};
    step.origin = node.origin().node.empty() ? node.name() : node.origin().node;
    builder_.add_step(node.region(), std::move(step));
    builder_.set_view(node.output(), copy, row_major(node.output()->dims()), 0);
    return true;
  }

  bool runs_in_place(const Node& node) const {
    return node.input(size_t{0}) != nullptr &&
           node.input(size_t{0})->type() == node.output()->type();
  }

  const ir::Graph& graph_;
  const FusionTarget& target_;
  PlanBuilder builder_;
  Layouts layouts_;
};

}  // namespace

plan::Plan emit_fused(const ir::Graph& graph, const FusionTarget& target) {
  return Emitter(graph, target).run();
}

}  // namespace regraft::compilation
