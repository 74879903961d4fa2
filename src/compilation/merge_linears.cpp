#include "compilation/merge_linears.h"

#include <algorithm>

#include "compilation/rewrite.h"

namespace regraft::compilation {
namespace {

// In program order: the first is where the merged one stands.
std::vector<ir::Node*> linears_of(const ir::Value& x, const WeightValues& weights,
                                  const std::vector<ir::Node*>& order) {
  std::vector<ir::Node*> out;
  for (ir::Node* node : order) {
    if (node->is("linear") && node->input("x") == &x && weights.contains(node->input("weight")) &&
        weights.contains(node->input("bias"))) {
      out.push_back(node);
    }
  }
  return out;
}

ir::Value* concatenated_bias(const std::vector<ir::Node*>& linears, Rewriter& at) {
  const auto has_bias = [](const ir::Node* node) { return node->input("bias") != nullptr; };
  if (std::none_of(linears.begin(), linears.end(), has_bias)) return nullptr;
  std::vector<ir::Value*> biases;
  for (const ir::Node* node : linears) {
    ir::Value* bias = node->input("bias");
    if (bias == nullptr) {
      bias = at.call("full", {},
                     {{"dims", SymDims{node->output()->dims().back()}},
                      {"value", 0.0},
                      {"dtype", node->output()->dtype()}});
    }
    biases.push_back(bias);
  }
  return at.call("cat", biases, {{"dim", SymInt(0)}});
}

void merge(ir::Graph& graph, const std::vector<ir::Node*>& linears) {
  ir::Node* first = linears.front();
  Rewriter at(graph, first, first->origin());
  std::vector<ir::Value*> weights;
  for (const ir::Node* node : linears)
    weights.push_back(node->input("weight"));
  ir::Value* weight = at.call("cat", weights, {{"dim", SymInt(0)}});
  ir::Value* bias = concatenated_bias(linears, at);
  ir::Value* merged = at.call("linear", {first->input("x"), weight, bias});
  graph.rename(weight, merged->name() + "_weight");
  if (bias != nullptr) graph.rename(bias, merged->name() + "_bias");
  std::vector<ir::Value*> parts;
  SymInt begin = 0;
  for (ir::Node* node : linears) {
    const SymInt end = begin + node->output()->dims().back();
    Rewriter here(graph, first, node->origin());
    parts.push_back(
        here.call("slice", {merged}, {{"dim", SymInt(-1)}, {"start", begin}, {"end", end}}));
    begin = end;
  }
  for (size_t i = 0; i < linears.size(); ++i)
    replace(linears[i], parts[i]);
}

}  // namespace

void merge_linears(ir::Graph& graph, const Settings&) {
  // The weights of a later linear must be there where the first one stands.
  move_weight_values_first(graph);
  const WeightValues weights(graph);
  const std::vector<ir::Node*> order = graph.node_list();
  std::vector<const ir::Value*> shared;
  for (const ir::Node* node : order) {
    if (!node->is("linear") || weights.contains(node->output())) continue;
    const ir::Value* x = node->input("x");
    if (std::find(shared.begin(), shared.end(), x) == shared.end()) shared.push_back(x);
  }
  std::vector<std::vector<ir::Node*>> groups;
  for (const ir::Value* x : shared)
    groups.push_back(linears_of(*x, weights, order));
  for (const std::vector<ir::Node*>& group : groups) {
    if (group.size() > 1) merge(graph, group);
  }
}

}  // namespace regraft::compilation
