#include "lowering/live_numbers.h"

#include <algorithm>

#include "lowering/symbolic.h"

namespace regraft::lowering {
namespace {

using program::ArgumentValue;
using program::ExportedGraph;
using program::ExportedNode;
using Names = std::set<std::string, std::less<>>;

void add_all(const ExportedGraph& graph, Names& names);

void add(const ArgumentValue& value, Names& names) {
  if (const auto* number = std::get_if<program::SymName>(&value)) {
    names.insert(number->name);
  } else if (const auto* list = std::get_if<std::vector<program::SymElement>>(&value)) {
    for (const program::SymElement& element : *list)
      names.insert(element.name);
  } else if (const auto* inner = std::get_if<std::shared_ptr<const ExportedGraph>>(&value)) {
    if (*inner != nullptr) add_all(**inner, names);
  }
}

// Whatever a region reads.
void add_all(const ExportedGraph& graph, Names& names) {
  for (const ExportedNode& node : graph.nodes) {
    for (const program::NamedArgument& argument : node.inputs)
      add(argument.value, names);
  }
  for (const ArgumentValue& output : graph.outputs)
    add(output, names);
}

bool is_read(const ExportedNode& node, const Names& names) {
  return std::any_of(node.outputs.begin(), node.outputs.end(), [&](const ArgumentValue& output) {
    const auto* number = std::get_if<program::SymName>(&output);
    return number != nullptr && names.contains(number->name);
  });
}

}  // namespace

std::string_view short_target(std::string_view target) {
  constexpr std::string_view kPrefix = "torch.ops.";
  return target.starts_with(kPrefix) ? target.substr(kPrefix.size()) : target;
}

bool is_check(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "aten._assert_",
      "aten._functional_assert_",
      "aten._functional_sym_constrain_",
      "aten.sym_constrain_range",
  };
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [&](std::string_view check) { return name.starts_with(check); });
}

Names live_numbers(const ExportedGraph& graph) {
  Names names;
  for (const ArgumentValue& output : graph.outputs)
    add(output, names);
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    if (is_check(short_target(node->target))) continue;
    if (is_symbolic_target(node->target) && !is_read(*node, names)) continue;
    for (const program::NamedArgument& argument : node->inputs)
      add(argument.value, names);
  }
  return names;
}

}  // namespace regraft::lowering
