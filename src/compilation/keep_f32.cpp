#include "compilation/keep_f32.h"

#include <algorithm>
#include <string_view>

#include "compilation/hoist.h"

namespace regraft::compilation {
namespace {

bool is_one_of(const ir::Node& node, std::initializer_list<std::string_view> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view name) { return node.is(name); });
}

bool is_elementwise(const ir::Node& node) {
  return node.op().has(ops::kPointwise) || node.op().has(ops::kView) || node.is("cat");
}

// Ops through which a table of numbers stays one: no weights that make an activation of it.
bool makes_tables(const ir::Node& node) {
  return is_elementwise(node) ||
         is_one_of(node, {"sum", "mean", "amax", "amin", "cumsum", "triu", "tril"});
}

bool is_sensitive(const ir::Node& node) {
  if (node.is("cast")) return is_integral(node.output()->dtype());
  return is_one_of(node,
                   {"sin", "cos", "tan", "floor", "ceil", "round", "trunc", "remainder", "fmod"});
}

}  // namespace

KeepF32::KeepF32(const ir::Graph& graph) : regions_(classify(graph)) {
  for (const auto& [node, region] : regions_) {
    if (region != ir::Region::Compute) kept_.insert(node);
  }
  find_tables(graph);
  keep_before_sensitive(graph);
}

bool KeepF32::is_table(const ir::Value& value) const {
  if (value.is_parameter()) return true;
  if (value.is_input()) return !is_floating(value.dtype());
  return regions_.at(value.producer()) != ir::Region::Compute || tables_.contains(value.producer());
}

void KeepF32::find_tables(const ir::Graph& graph) {
  for (const auto& node : graph.nodes()) {
    if (kept_.contains(node.get()) || !makes_tables(*node)) continue;
    const bool is_table =
        std::all_of(node->inputs().begin(), node->inputs().end(), [&](const ir::Value* input) {
          return input == nullptr || !is_floating(input->dtype()) || this->is_table(*input);
        });
    // A program that leaves 16 bits for f32 by itself has its reasons.
    const bool is_upcast = node->is("cast") && node->output()->dtype() == DType::F32 &&
                           item_size(node->input(size_t{0})->dtype()) == 2;
    if (is_table || is_upcast) {
      tables_.insert(node.get());
      kept_.insert(node.get());
    }
  }
}

void KeepF32::keep_before_sensitive(const ir::Graph& graph) {
  std::set<const ir::Node*> wanted;
  const auto nodes = graph.node_list();
  for (auto at = nodes.rbegin(); at != nodes.rend(); ++at) {
    const ir::Node* node = *at;
    const bool leads = wanted.contains(node) && (is_elementwise(*node) || node->is("matmul"));
    if (!leads && !is_sensitive(*node)) continue;
    kept_.insert(node);
    for (const ir::Value* input : node->inputs()) {
      if (input != nullptr && input->producer() != nullptr) wanted.insert(input->producer());
    }
  }
}

}  // namespace regraft::compilation
