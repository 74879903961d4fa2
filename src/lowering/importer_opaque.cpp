#include <algorithm>
#include <optional>

#include "base/fail.h"
#include "lowering/importer.h"

namespace regraft::lowering {
namespace {

// Whether the op may write to its arguments. Programs written by run_decompositions do not; in raw
// ones ATen marks such ops by a trailing underscore, and nothing is known of other libraries.
bool may_write(std::string_view target, bool is_functional) {
  constexpr std::string_view kAten = "torch.ops.aten.";
  if (is_functional) return false;
  if (!target.starts_with(kAten)) return true;
  const std::string_view name = target.substr(kAten.size());
  const size_t dot = name.find('.');
  return dot == std::string_view::npos || dot == 0 || name[dot - 1] == '_' ||
         name.starts_with("__i") || name.ends_with(".out");
}

}  // namespace

Importer::Unsupported& Importer::note_unsupported(const program::ExportedNode& node,
                                                  const UnsupportedCall& call) {
  auto op = std::find_if(unsupported_.begin(), unsupported_.end(), [&](const Unsupported& known) {
    return known.target == node.target && known.reason == call.reason;
  });
  if (op == unsupported_.end()) {
    Unsupported fresh;
    fresh.target = node.target;
    fresh.reason = call.reason;
    fresh.is_consequence = call.is_consequence;
    const std::string where = location(node);
    const size_t place = where.find(") at ");
    fresh.first = place == std::string::npos ? " is " + node.name : where.substr(place + 1);
    op = unsupported_.insert(unsupported_.end(), std::move(fresh));
  }
  ++op->count;
  return *op;
}

// The types the program states of a node's results, in order; nothing for a number and, in a
// survey, for a tensor of a type that Regraft does not have.
std::vector<std::optional<TensorType>> Importer::stated_types(
    const program::ExportedGraph& graph, const program::ExportedNode& node) const {
  std::vector<std::optional<TensorType>> types;
  const auto add = [&](const std::string& name) {
    try {
      types.emplace_back(stated_type(graph, name));
    } catch (const Error& error) {
      if (!surveys_ || error.code() != ErrorCode::Unsupported) throw;
      types.emplace_back();
    }
  };
  for (const program::ArgumentValue& output : node.outputs) {
    if (const auto* tensor = std::get_if<program::TensorName>(&output)) {
      add(tensor->name);
    } else if (const auto* list = std::get_if<program::TensorNames>(&output)) {
      for (const std::string& name : *list)
        add(name);
    } else {
      types.emplace_back();
    }
  }
  return types;
}

void Importer::add_opaque(const program::ExportedGraph& graph, const program::ExportedNode& node,
                          const UnsupportedCall& call) {
  Unsupported& op = note_unsupported(node, call);
  refusal_ = call.reason.empty() ? "no lowering" : call.reason;
  std::vector<ir::Value*> inputs;
  std::vector<std::string> names;
  Attributes attributes;
  bool is_sound = !may_write(node.target, program_.exported.is_functional);
  const auto add_tensor = [&](const std::string& tensor, const std::string& argument) {
    Binding binding = tensor.empty() ? Binding{} : binding_of(program::TensorName{tensor});
    auto* ref = std::get_if<Ref>(&binding);
    if (ref == nullptr && !tensor.empty()) is_sound = false;
    // Its results may be views of its arguments.
    if (ref != nullptr) ref->memory->has_unclear_alias |= !program_.exported.is_functional;
    inputs.push_back(ref == nullptr ? nullptr : read(*graph_, *ref));
    names.push_back(argument);
  };
  for (const program::NamedArgument& argument : node.inputs) {
    if (const auto* tensor = std::get_if<program::TensorName>(&argument.value)) {
      add_tensor(tensor->name, argument.name);
    } else if (const auto* list = std::get_if<program::TensorNames>(&argument.value)) {
      for (const std::string& tensor : *list)
        add_tensor(tensor, argument.name + "[]");
    } else if (std::holds_alternative<std::shared_ptr<const program::ExportedGraph>>(
                   argument.value)) {
      is_sound = false;
    }
  }
  attributes.set("inputs", base::join(names, ","));

  const auto stated = stated_types(graph, node);
  std::vector<TensorType> types;
  for (const auto& type : stated) {
    if (type) types.push_back(*type);
  }
  is_sound = is_sound && !types.empty() && types.size() == stated.size();
  op.stays_opaque = op.stays_opaque && is_sound;
  // A survey only asks what nodes behind this one would be.
  const bool stands_in = surveys_ && program_.exported.is_functional && !types.empty();
  std::vector<Binding> results;
  if (is_sound || stands_in) {
    const ir::Node* made = graph_->add_opaque(node.target, inputs, std::move(attributes),
                                              std::move(types), nullptr, node.name);
    size_t next = 0;
    for (const auto& type : stated) {
      if (!type) {
        results.emplace_back();
        continue;
      }
      ir::Value* value = made->output(next++);
      Ref ref;
      ref.memory = std::make_shared<Memory>();
      ref.memory->value = value;
      ref.memory->has_unclear_alias = !program_.exported.is_functional;
      ref.value = value;
      results.emplace_back(std::move(ref));
    }
  }
  bind_results(graph, node, results);
}

}  // namespace regraft::lowering
