#pragma once

#include <initializer_list>
#include <set>
#include <string_view>
#include <utility>

#include "ir/graph.h"

namespace regraft::compilation {

// Makes nodes in front of `before`, all with the origin of one node: what passes write patterns in.
class Rewriter {
 public:
  Rewriter(ir::Graph& graph, ir::Node* before, ir::Origin origin)
      : graph_(graph), before_(before), origin_(std::move(origin)) {}

  ir::Value* call(std::string_view op, std::initializer_list<ir::Value*> inputs,
                  Attributes attributes = {}, std::string_view name = "");
  ir::Value* call(std::string_view op, std::span<ir::Value* const> inputs,
                  Attributes attributes = {}, std::string_view name = "");
  ir::Value* add(ir::Value* x, ir::Value* y) { return call("add", {x, y}); }
  ir::Value* add(ir::Value* x, double y) { return call("add", {x, nullptr}, {{"scalar", y}}); }
  ir::Value* sub(ir::Value* x, ir::Value* y) { return call("sub", {x, y}); }
  ir::Value* mul(ir::Value* x, ir::Value* y) { return call("mul", {x, y}); }
  // `x` itself where it has the dtype or the dims already.
  ir::Value* cast(ir::Value* x, DType dtype);
  ir::Value* reshape(ir::Value* x, SymDims dims);

 private:
  ir::Graph& graph_;
  ir::Node* before_;
  ir::Origin origin_;
};

// Which values depend on parameters and constants of the program alone, as hoist() will find. Found
// once: a pass that asks about nodes it makes inserts them.
class WeightValues {
 public:
  explicit WeightValues(const ir::Graph& graph);
  // True for null: an absent operand depends on nothing.
  bool contains(const ir::Value* value) const;
  void insert(const ir::Value* value) { nodes_.insert(value->producer()); }

 private:
  std::set<const ir::Node*> nodes_;
};

// Brings the nodes whose values are weight values in front of all others, so that a pass may use
// them anywhere.
void move_weight_values_first(ir::Graph& graph);

// Replaces every use of a node's only result and erases the node. A result of another node takes
// the name over.
void replace(ir::Node* node, ir::Value* by);

// Whether `value` is read exactly once, by a node.
inline bool has_one_use(const ir::Value& value) {
  return value.users().size() == 1 && !value.is_graph_output();
}

}  // namespace regraft::compilation
