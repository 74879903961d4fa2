#include "ir/graph.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"

namespace regraft::ir {

std::string_view name(Region region) {
  switch (region) {
    case Region::Weight:
      return "weight";
    case Region::Shape:
      return "shape";
    case Region::Compute:
      return "compute";
  }
  return "";
}

Value* Node::input(std::string_view argument) const {
  return input(op_->schema.input_index(argument, inputs_.size()));
}

std::string Graph::unique_name(std::string_view wanted) const {
  std::string base;
  for (const char c : wanted) {
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '_' || c == '.';
    base += is_word ? c : '_';
  }
  if (base.empty()) base = "v";
  if (values_.find(base) == values_.end()) return base;
  int& counter = name_counters_[base];
  std::string name;
  do {
    name = base + "_" + std::to_string(++counter);
  } while (values_.find(name) != values_.end());
  return name;
}

Value* Graph::new_value(std::string_view name, Value::Kind kind, TensorType type) {
  auto value = std::make_unique<Value>();
  value->kind_ = kind;
  value->type_ = std::move(type);
  auto& table = kind == Value::Kind::Parameter ? parameter_values_ : values_;
  value->name_ = kind == Value::Kind::Parameter ? std::string(name) : unique_name(name);
  Value* out = value.get();
  table.emplace(value->name_, std::move(value));
  return out;
}

Value* Graph::add_input(std::string_view name, TensorType type) {
  inputs_.push_back(new_value(name, Value::Kind::Input, std::move(type)));
  return inputs_.back();
}

Value* Graph::add_parameter(std::string_view name, TensorType type,
                            std::vector<std::string> aliases) {
  if (find_parameter(name) != nullptr) {
    base::fail("ir", ErrorCode::InvalidArgument, "two parameters named '", name, "'");
  }
  Value* value = new_value(name, Value::Kind::Parameter, std::move(type));
  parameters_.push_back({value, std::move(aliases)});
  return value;
}

void Graph::add_output(std::string_view name, Value* value) {
  outputs_.push_back({std::string(name), value});
  ++value->output_uses_;
}

void Graph::set_output(size_t i, Value* value) {
  --outputs_[i].value->output_uses_;
  ++value->output_uses_;
  outputs_[i].value = value;
}

void Graph::set_symbol(plan::Symbol symbol) {
  for (plan::Symbol& existing : symbols_) {
    if (existing.name == symbol.name) {
      existing = std::move(symbol);
      return;
    }
  }
  symbols_.push_back(std::move(symbol));
}

std::vector<TensorType> Graph::infer(const ops::Op& op, std::span<Value* const> inputs,
                                     Attributes& attributes) const {
  std::vector<const TensorType*> types;
  for (const Value* input : inputs)
    types.push_back(input == nullptr ? nullptr : &input->type());
  return ops::infer_types(op, types, attributes);
}

Node* Graph::insert(const ops::Op& op, std::span<Value* const> inputs, Attributes attributes,
                    std::vector<TensorType> types, Node* before, std::string_view result_name) {
  const auto at = before == nullptr ? nodes_.end() : before->position_;
  const auto position = nodes_.insert(at, std::make_unique<Node>());
  Node* node = position->get();
  node->graph_ = this;
  node->op_ = &op;
  node->attributes_ = std::move(attributes);
  node->position_ = position;
  node->inputs_.assign(inputs.begin(), inputs.end());
  for (Value* input : inputs) {
    if (input != nullptr) input->users_.push_back(node);
  }
  for (TensorType& type : types) {
    Value* value = new_value(result_name.empty() ? std::string_view(op.name) : result_name,
                             Value::Kind::Result, std::move(type));
    value->producer_ = node;
    value->output_index_ = node->outputs_.size();
    node->outputs_.push_back(value);
  }
  return node;
}

Node* Graph::add(std::string_view op_name, std::span<Value* const> inputs, Attributes attributes,
                 Node* before, std::string_view result_name) {
  const ops::Op& op = ops::op(op_name);
  std::vector<TensorType> types = infer(op, inputs, attributes);
  return insert(op, inputs, std::move(attributes), std::move(types), before, result_name);
}

Node* Graph::add(std::string_view op, std::initializer_list<Value*> inputs, Attributes attributes,
                 Node* before, std::string_view result_name) {
  return add(op, std::span<Value* const>(inputs.begin(), inputs.size()), std::move(attributes),
             before, result_name);
}

Node* Graph::add_opaque(std::string_view op_name, std::span<Value* const> inputs,
                        Attributes attributes, std::vector<TensorType> types, Node* before,
                        std::string_view result_name) {
  auto& op = opaque_ops_[std::string(op_name)];
  if (op == nullptr) op = std::make_unique<ops::Op>(ops::Op{std::string(op_name), {}, nullptr, 0});
  return insert(*op, inputs, std::move(attributes), std::move(types), before, result_name);
}

void Graph::remove_user(Value* value, Node* node) {
  const auto at = std::find(value->users_.begin(), value->users_.end(), node);
  if (at != value->users_.end()) value->users_.erase(at);
}

void Graph::set_input(Node* node, size_t i, Value* value) {
  if (node->inputs_[i] != nullptr) remove_user(node->inputs_[i], node);
  node->inputs_[i] = value;
  if (value != nullptr) value->users_.push_back(node);
}

void Graph::set_attributes(Node* node, Attributes attributes) {
  if (node->op_->is_opaque()) {
    node->attributes_ = std::move(attributes);
    return;
  }
  std::vector<TensorType> types = infer(*node->op_, node->inputs_, attributes);
  node->attributes_ = std::move(attributes);
  for (size_t i = 0; i < types.size(); ++i)
    node->outputs_[i]->type_ = std::move(types[i]);
}

void Graph::refresh_types(Node* node) { set_attributes(node, node->attributes_); }

void Graph::set_parameter_type(Value* parameter, TensorType type) {
  parameter->type_ = std::move(type);
}
void Graph::set_input_type(Value* input, TensorType type) { input->type_ = std::move(type); }

void Graph::replace_uses(Value* value, Value* by) {
  if (value == by) return;
  for (Node* user : std::vector<Node*>(value->users_)) {
    for (Value*& input : user->inputs_) {
      if (input != value) continue;
      input = by;
      by->users_.push_back(user);
    }
  }
  value->users_.clear();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (outputs_[i].value == value) set_output(i, by);
  }
}

void Graph::erase(Node* node) {
  for (const Value* output : node->outputs_) {
    if (output->has_uses()) {
      base::fail("ir", ErrorCode::Internal, "erasing %", output->name(), ", which has uses");
    }
  }
  for (Value* input : node->inputs_) {
    if (input != nullptr) remove_user(input, node);
  }
  for (const Value* output : node->outputs_)
    values_.erase(values_.find(output->name()));
  nodes_.erase(node->position_);
}

size_t Graph::erase_dead_nodes() {
  size_t erased = 0;
  for (auto at = nodes_.end(); at != nodes_.begin();) {
    --at;
    Node* node = at->get();
    const bool used = std::any_of(node->outputs_.begin(), node->outputs_.end(),
                                  [](const Value* output) { return output->has_uses(); });
    if (used) continue;
    ++at;
    erase(node);
    ++erased;
  }
  return erased;
}

std::vector<std::string> Graph::erase_unused_parameters() {
  std::vector<std::string> names;
  std::erase_if(parameters_, [&](const Parameter& parameter) {
    if (parameter.value->has_uses()) return false;
    names.push_back(parameter.value->name());
    return true;
  });
  for (const std::string& name : names)
    parameter_values_.erase(parameter_values_.find(name));
  return names;
}

void Graph::move_before(Node* node, Node* before) {
  nodes_.splice(before == nullptr ? nodes_.end() : before->position_, nodes_, node->position_);
}

void Graph::rename(Value* value, std::string_view name) {
  if (value->is_parameter() || value->name_ == name) return;
  auto handle = values_.extract(values_.find(value->name_));
  value->name_ = unique_name(name);
  handle.key() = value->name_;
  values_.insert(std::move(handle));
}

std::vector<Node*> Graph::node_list() const {
  std::vector<Node*> out;
  out.reserve(nodes_.size());
  for (const auto& node : nodes_)
    out.push_back(node.get());
  return out;
}

Node* Graph::next(const Node* node) const {
  const auto at = std::next(node->position_);
  return at == nodes_.end() ? nullptr : at->get();
}

Value* Graph::find(std::string_view name) const {
  const auto at = values_.find(name);
  return at == values_.end() ? nullptr : at->second.get();
}

Value* Graph::find_parameter(std::string_view name) const {
  const auto at = parameter_values_.find(name);
  if (at != parameter_values_.end()) return at->second.get();
  for (const Parameter& parameter : parameters_) {
    if (std::find(parameter.aliases.begin(), parameter.aliases.end(), name) !=
        parameter.aliases.end()) {
      return parameter.value;
    }
  }
  return nullptr;
}

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>();
  copy->symbols_ = symbols_;
  copy->guards_ = guards_;
  std::map<const Value*, Value*> by{{nullptr, nullptr}};
  for (const Value* input : inputs_)
    by[input] = copy->add_input(input->name(), input->type());
  for (const Parameter& parameter : parameters_) {
    by[parameter.value] =
        copy->add_parameter(parameter.value->name(), parameter.value->type(), parameter.aliases);
  }
  for (const auto& node : nodes_) {
    std::vector<Value*> inputs;
    for (const Value* input : node->inputs_)
      inputs.push_back(by.at(input));
    std::vector<TensorType> types;
    for (const Value* output : node->outputs_)
      types.push_back(output->type());
    const ops::Op* op = node->op_;
    if (op->is_opaque()) {
      auto& slot = copy->opaque_ops_[op->name];
      if (slot == nullptr) slot = std::make_unique<ops::Op>(*op);
      op = slot.get();
    }
    Node* made = copy->insert(*op, inputs, node->attributes_, std::move(types), nullptr,
                              node->outputs_.front()->name());
    made->region_ = node->region_;
    made->origin_ = node->origin_;
    for (size_t i = 0; i < node->outputs_.size(); ++i) {
      copy->rename(made->outputs_[i], node->outputs_[i]->name());
      by[node->outputs_[i]] = made->outputs_[i];
    }
  }
  for (const Output& output : outputs_)
    copy->add_output(output.name, by.at(output.value));
  return copy;
}

}  // namespace regraft::ir
