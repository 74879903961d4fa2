#include <algorithm>

#include "ir/text.h"

namespace regraft::ir {
namespace {

bool is_plain(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.';
  });
}

std::string quoted(std::string_view name) {
  return is_plain(name) ? std::string(name) : to_string(Attribute(std::string(name)));
}

// The Scalar attribute that stands for the absent tensor argument `argument` of `op`, or null.
const ops::Argument* scalar_for(const ops::Op& op, const ops::Argument& argument) {
  const ops::Argument* own = op.schema.find(argument.name + "_scalar");
  if (own == nullptr && (argument.name == "x" || argument.name == "y")) {
    own = op.schema.find("scalar");
  }
  return own != nullptr && own->type == ops::ArgumentType::Scalar ? own : nullptr;
}

struct Operands {
  std::string text;
  std::vector<std::string> printed_attributes;  // Those that stand in operand position.
};

Operands operands(const Node& node) {
  Operands out;
  std::vector<std::string> parts;
  const auto add_value = [&](const Value* value) {
    parts.push_back(value == nullptr ? "none" : value->text());
  };
  if (node.op().is_opaque()) {
    for (const Value* input : node.inputs())
      add_value(input);
    return {base::join(parts, ", "), {}};
  }
  const ops::Schema& schema = node.op().schema;
  size_t index = 0;
  for (const ops::Argument& argument : schema.arguments) {
    if (!argument.is_tensor()) continue;
    if (argument.type == ops::ArgumentType::TensorList) {
      const size_t length = schema.list_length(node.inputs().size());
      for (size_t i = 0; i < length; ++i)
        add_value(node.input(index++));
      continue;
    }
    const Value* value = node.input(index++);
    const ops::Argument* scalar = scalar_for(node.op(), argument);
    if (value == nullptr && scalar != nullptr && !node.attributes().is_none(scalar->name)) {
      parts.push_back(to_string(*node.attributes().find(scalar->name)));
      out.printed_attributes.push_back(scalar->name);
    } else {
      add_value(value);
    }
  }
  // Absent optionals at the end need no word.
  if (!schema.has_list()) {
    while (!parts.empty() && parts.back() == "none")
      parts.pop_back();
  }
  out.text = base::join(parts, ", ");
  return out;
}

std::string attributes(const Node& node, const std::vector<std::string>& printed) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : node.attributes().entries()) {
    if (std::find(printed.begin(), printed.end(), name) != printed.end()) continue;
    const ops::Argument* argument = node.op().schema.find(name);
    if (argument != nullptr && argument->fallback && *argument->fallback == value) continue;
    parts.push_back(name + "=" + to_string(value));
  }
  return parts.empty() ? "" : " {" + base::join(parts, ", ") + "}";
}

void print_node(const Node& node, std::string& out) {
  std::vector<std::string> results;
  for (const Value* value : node.outputs()) {
    results.push_back(value->text() + ": " + value->type().str());
  }
  out += "  " + base::join(results, ", ") + " = " + print(node) + "\n";
}

void print_region(const Graph& graph, Region region, std::string_view title, std::string& out) {
  std::string body;
  for (const auto& node : graph.nodes()) {
    if (node->region() == region) print_node(*node, body);
  }
  if (!body.empty()) out += std::string(title) + " {\n" + body + "}\n";
}

void print_symbols(const Graph& graph, std::string& out) {
  if (graph.symbols().empty()) return;
  std::vector<std::string> parts;
  for (const plan::Symbol& symbol : graph.symbols()) {
    std::string text = base::cat(symbol.name, " in [", symbol.min, ",");
    text += symbol.max == INT64_MAX ? "inf" : std::to_string(symbol.max);
    text += "]";
    if (symbol.optimum > 0) text += base::cat(" at ", symbol.optimum);
    parts.push_back(text);
  }
  out += "symbols { " + base::join(parts, ", ") + " }\n";
}

void print_guards(const Graph& graph, std::string& out) {
  if (graph.guards().empty()) return;
  std::vector<std::string> parts;
  for (const SizeGuard& guard : graph.guards())
    parts.push_back(guard.str());
  out += "guards { " + base::join(parts, ", ") + " }\n";
}

void print_parameters(const Graph& graph, std::string& out) {
  if (graph.parameters().empty()) return;
  out += "parameters {\n";
  for (const Graph::Parameter& parameter : graph.parameters()) {
    const std::string type = parameter.value->type().str();
    out += "  " + parameter.value->text() + ": " + type + "\n";
    for (const std::string& alias : parameter.aliases) {
      out += "  @" + quoted(alias) + ": " + type + " = " + parameter.value->text() + "\n";
    }
  }
  out += "}\n";
}

}  // namespace

std::string Value::text() const {
  if (kind_ == Kind::Parameter) return "@" + quoted(name_);
  const bool weight = producer_ != nullptr && producer_->region() == Region::Weight;
  return (weight ? "$" : "%") + name_;
}

std::string print(const Node& node) {
  const Operands inputs = operands(node);
  return node.op().name + "(" + inputs.text + ")" + attributes(node, inputs.printed_attributes);
}

std::string print(const Graph& graph) {
  std::string out;
  print_symbols(graph, out);
  print_guards(graph, out);
  print_parameters(graph, out);
  print_region(graph, Region::Weight, "weights", out);
  print_region(graph, Region::Shape, "shapes", out);
  std::vector<std::string> inputs;
  for (const Value* input : graph.inputs()) {
    inputs.push_back(input->text() + ": " + input->type().str());
  }
  out += "graph(" + base::join(inputs, ", ") + ") {\n";
  for (const auto& node : graph.nodes()) {
    if (node->region() == Region::Compute) print_node(*node, out);
  }
  std::vector<std::string> outputs;
  for (const Graph::Output& output : graph.outputs()) {
    const bool named = !output.name.empty() && output.name != output.value->name();
    outputs.push_back(output.value->text() + (named ? " as " + quoted(output.name) : ""));
  }
  out += "  return " + base::join(outputs, ", ") + "\n}\n";
  return out;
}

}  // namespace regraft::ir
