#pragma once

#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/op.h"
#include "plan/plan.h"
#include "tensor/attributes.h"

namespace regraft::ir {

class Graph;
class Node;

// Where a node runs. Before hoisting every node is in Compute.
enum class Region : uint8_t {
  Weight,   // From parameters alone: the weight program.
  Shape,    // Also from symbols of input shapes: once per generation and binding.
  Compute,  // From inputs: every run.
};
std::string_view name(Region region);

// Where a node stands in the exported program; empty where a pass made it.
struct Origin {
  std::string node;         // Name of the exported node.
  std::string module_path;  // "encoder.layers.0.mlp"
  std::string source_line;  // "model.py:120"
};

// A tensor of the graph: an input, a parameter or one output of a node. Owned by the graph; the
// address is stable. `name` is unique in its graph.
class Value {
 public:
  enum class Kind : uint8_t { Input, Parameter, Result };

  const std::string& name() const { return name_; }
  Kind kind() const { return kind_; }
  bool is_parameter() const { return kind_ == Kind::Parameter; }
  bool is_input() const { return kind_ == Kind::Input; }
  const TensorType& type() const { return type_; }
  DType dtype() const { return type_.dtype; }
  const SymDims& dims() const { return type_.dims; }
  // Null for inputs and parameters.
  Node* producer() const { return producer_; }
  size_t output_index() const { return output_index_; }
  // One entry per use, so a node that reads the value twice appears twice; no order.
  const std::vector<Node*>& users() const { return users_; }
  bool is_graph_output() const { return output_uses_ > 0; }
  bool has_uses() const { return !users_.empty() || output_uses_ > 0; }
  // "%x", "@conv.weight" or, for a result of the weight region, "$w".
  std::string text() const;

 private:
  friend class Graph;
  friend class Node;
  std::string name_;
  Kind kind_ = Kind::Result;
  TensorType type_;
  Node* producer_ = nullptr;
  size_t output_index_ = 0;
  std::vector<Node*> users_;
  int output_uses_ = 0;
};

// One application of an op. Owned by the graph.
class Node {
 public:
  const ops::Op& op() const { return *op_; }
  bool is(std::string_view op_name) const { return op_->name == op_name; }
  const std::string& name() const { return outputs_.front()->name(); }
  // Flat, in schema order; null for an absent optional tensor.
  std::span<Value* const> inputs() const { return inputs_; }
  Value* input(size_t i) const { return i < inputs_.size() ? inputs_[i] : nullptr; }
  // The input bound to the schema's tensor argument `argument` (not a list).
  Value* input(std::string_view argument) const;
  std::span<Value* const> outputs() const { return outputs_; }
  Value* output(size_t i = 0) const { return outputs_[i]; }
  // Complete: defaults are filled in.
  const Attributes& attributes() const { return attributes_; }
  Region region() const { return region_; }
  void set_region(Region region) { region_ = region; }
  const Origin& origin() const { return origin_; }
  void set_origin(Origin origin) { origin_ = std::move(origin); }
  Graph& graph() const { return *graph_; }

 private:
  friend class Graph;
  Graph* graph_ = nullptr;
  const ops::Op* op_ = nullptr;
  std::vector<Value*> inputs_;
  std::vector<Value*> outputs_;
  Attributes attributes_;
  Region region_ = Region::Compute;
  Origin origin_;
  std::list<std::unique_ptr<Node>>::iterator position_;
};

// A functional program over the op catalogue: nodes in an order in which definitions precede uses.
// Values are logical tensors without strides or aliasing; ties are one parameter with aliases.
// Not thread-safe; not copyable (clone() copies).
class Graph {
 public:
  struct Parameter {
    Value* value;
    std::vector<std::string> aliases;  // Other FQNs of the same tensor.
  };
  struct Output {
    std::string name;
    Value* value;
  };

  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // ---- building ----
  // `name` is made unique by a numeric suffix where taken.
  Value* add_input(std::string_view name, TensorType type);
  // `name` is the FQN and must be new. Throws Error{"ir", InvalidArgument}.
  Value* add_parameter(std::string_view name, TensorType type,
                       std::vector<std::string> aliases = {});
  void add_output(std::string_view name, Value* value);
  void set_output(size_t i, Value* value);
  void set_symbol(plan::Symbol symbol);  // Adds or replaces by name.
  void add_guard(SizeGuard guard) { guards_.push_back(std::move(guard)); }

  // Appends a node, or inserts it before `before`. Types are inferred; attributes are completed.
  // Throws Error{"ops", ...} when the node does not type-check; the graph is then unchanged.
  Node* add(std::string_view op, std::span<Value* const> inputs, Attributes attributes = {},
            Node* before = nullptr, std::string_view result_name = "");
  Node* add(std::string_view op, std::initializer_list<Value*> inputs, Attributes attributes = {},
            Node* before = nullptr, std::string_view result_name = "");
  // A node of an op outside the catalogue, with the types the program states.
  Node* add_opaque(std::string_view op, std::span<Value* const> inputs, Attributes attributes,
                   std::vector<TensorType> types, Node* before = nullptr,
                   std::string_view result_name = "");

  // ---- changing ----
  void set_input(Node* node, size_t i, Value* value);
  // Changes one attribute or replaces all; types are inferred again and the outputs updated.
  void set_attributes(Node* node, Attributes attributes);
  // Every use, graph outputs included, reads `by` instead.
  void replace_uses(Value* value, Value* by);
  // Infers the node's output types again after its inputs' types changed.
  void refresh_types(Node* node);
  void set_parameter_type(Value* parameter, TensorType type);
  void set_input_type(Value* input, TensorType type);
  // Takes a node without uses out. Asserts that nothing reads it.
  void erase(Node* node);
  // Erases every node whose results nothing reads. Returns how many.
  size_t erase_dead_nodes();
  // Drops parameters that nothing reads. Returns their names.
  std::vector<std::string> erase_unused_parameters();
  void move_before(Node* node, Node* before);
  void rename(Value* value, std::string_view name);

  // ---- reading ----
  const std::list<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  // A snapshot of the order, for passes that change the graph while they walk it.
  std::vector<Node*> node_list() const;
  // The node behind `node`; null at the end.
  Node* next(const Node* node) const;
  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::vector<Output>& outputs() const { return outputs_; }
  const std::vector<plan::Symbol>& symbols() const { return symbols_; }
  const std::vector<SizeGuard>& guards() const { return guards_; }
  Value* find(std::string_view name) const;            // Results and inputs; null when absent.
  Value* find_parameter(std::string_view name) const;  // By FQN or alias; null when absent.
  std::unique_ptr<Graph> clone() const;

 private:
  Value* new_value(std::string_view name, Value::Kind kind, TensorType type);
  std::string unique_name(std::string_view wanted) const;
  Node* insert(const ops::Op& op, std::span<Value* const> inputs, Attributes attributes,
               std::vector<TensorType> types, Node* before, std::string_view result_name);
  std::vector<TensorType> infer(const ops::Op& op, std::span<Value* const> inputs,
                                Attributes& attributes) const;
  void remove_user(Value* value, Node* node);

  std::map<std::string, std::unique_ptr<Value>, std::less<>> values_;  // Inputs, results.
  std::map<std::string, std::unique_ptr<Value>, std::less<>> parameter_values_;
  std::list<std::unique_ptr<Node>> nodes_;
  std::vector<Value*> inputs_;
  std::vector<Parameter> parameters_;
  std::vector<Output> outputs_;
  std::vector<plan::Symbol> symbols_;
  std::vector<SizeGuard> guards_;  // Of sizes of the inputs.
  std::map<std::string, std::unique_ptr<ops::Op>, std::less<>> opaque_ops_;
  mutable std::map<std::string, int, std::less<>> name_counters_;
};

}  // namespace regraft::ir
