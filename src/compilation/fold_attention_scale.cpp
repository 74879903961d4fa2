#include "compilation/fold_attention_scale.h"

#include <cmath>
#include <optional>

#include "compilation/rewrite.h"

namespace regraft::compilation {
namespace {

// The constant factor of x * c, c * x or x / c.
std::optional<double> factor_of(const ir::Node& node) {
  const Attribute* scalar = node.attributes().find("scalar");
  if (scalar == nullptr || node.attributes().is_none("scalar")) return std::nullopt;
  const auto* size = std::get_if<SymInt>(scalar);
  if (size != nullptr && !size->is_constant()) return std::nullopt;
  const double value = node.attributes().number("scalar");
  if (!std::isfinite(value) || value == 0) return std::nullopt;
  if (node.is("mul")) return value;
  const bool divides =
      node.is("div") && node.input("x") != nullptr && node.attributes().is_none("rounding");
  return divides ? std::optional<double>(1 / value) : std::nullopt;
}

// The multiplication that `value` is a view of, where nothing else reads any of it.
ir::Node* scaling_behind(ir::Value* value) {
  while (has_one_use(*value) && value->producer() != nullptr) {
    ir::Node* node = value->producer();
    if (factor_of(*node)) return node;
    if (!node->is("reshape") && !node->is("permute") && !node->is("expand")) return nullptr;
    value = node->input(size_t{0});
  }
  return nullptr;
}

void fold(ir::Graph& graph, ir::Node* attention) {
  const SymInt& features = attention->input("query")->dims().back();
  const bool has_scale = !attention->attributes().is_none("scale");
  if (!has_scale && !features.is_constant()) return;
  double scale = has_scale ? attention->attributes().number("scale")
                           : 1 / std::sqrt(static_cast<double>(features.value()));
  bool folded = false;
  for (const std::string_view operand : {"query", "key"}) {
    ir::Node* scaling = scaling_behind(attention->input(operand));
    if (scaling == nullptr) continue;
    ir::Value* x = scaling->input("x") != nullptr ? scaling->input("x") : scaling->input("y");
    if (!(x->type() == scaling->output()->type())) continue;
    scale *= *factor_of(*scaling);
    replace(scaling, x);
    folded = true;
  }
  if (!folded) return;
  Attributes attributes = attention->attributes();
  attributes.set("scale", scale);
  graph.set_attributes(attention, std::move(attributes));
}

}  // namespace

void fold_attention_scale(ir::Graph& graph, const Settings&) {
  for (ir::Node* node : graph.node_list()) {
    if (node->is("scaled_dot_product_attention")) fold(graph, node);
  }
}

}  // namespace regraft::compilation
