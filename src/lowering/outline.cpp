#include "lowering/outline.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string_view>

#include "base/hash.h"
#include "base/text.h"

namespace regraft::lowering {
namespace {

// Ops whose integers are sizes or come from sizes.
bool takes_sizes(std::string_view op) {
  static constexpr std::string_view kOps[] = {"slice", "arange", "full", "eye"};
  return std::find(std::begin(kOps), std::end(kOps), op) != std::end(kOps) ||
         op.starts_with("upsample");
}

// A view that another batch size may not need at all: it counts as its input.
bool is_transparent(const ir::Node& node) {
  if (node.is("reshape") || node.is("expand")) return true;
  return node.is("slice") && node.attributes().size("start") == SymInt(0);
}

class Outline {
 public:
  explicit Outline(const ir::Graph& graph) {
    for (const ir::Value* input : graph.inputs())
      names_.emplace(input, base::cat("in", names_.size()));
    for (const ir::Graph::Parameter& parameter : graph.parameters())
      names_.emplace(parameter.value, "@" + parameter.value->name());
    for (const auto& node : graph.nodes())
      add(*node);
    std::string results;
    for (const ir::Graph::Output& output : graph.outputs())
      results += " " + name_of(output.value);
    add_line("return", results);
  }

  std::vector<std::string> take() { return std::move(lines_); }

 private:
  std::string name_of(const ir::Value* value) const {
    return value == nullptr ? "none" : names_.at(value);
  }

  void add(const ir::Node& node) {
    if (is_transparent(node)) {
      names_.emplace(node.output(), name_of(node.input(0)));
      return;
    }
    for (size_t i = 0; i < node.outputs().size(); ++i)
      names_.emplace(node.output(i), base::cat("%", lines_.size(), ".", i));
    std::string text;
    for (const ir::Value* input : node.inputs())
      text += " " + name_of(input);
    for (const auto& [name, value] : node.attributes().entries())
      text += base::cat(" ", name, "=", attribute_text(value, takes_sizes(node.op().name)));
    add_line(node.op().name, text);
  }

  static std::string attribute_text(const Attribute& value, bool is_size) {
    const auto* size = std::get_if<SymInt>(&value);
    const auto* sizes = std::get_if<SymDims>(&value);
    if (size != nullptr && (is_size || !size->is_constant())) return "_";
    if (sizes == nullptr) return base::cat(value.index(), ":", to_string(value));
    std::string text = "[";
    for (const SymInt& each : *sizes)
      text += (is_size || !each.is_constant() ? "_" : each.str()) + ",";
    return text + "]";
  }

  void add_line(std::string_view op, const std::string& text) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x",
                  static_cast<unsigned>(base::hash64(text.data(), text.size())));
    lines_.push_back(base::cat(op, ":", digits));
  }

  std::map<const ir::Value*, std::string> names_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> outline(const ir::Graph& graph) { return Outline(graph).take(); }

}  // namespace regraft::lowering
