#include "compilation/lower_precision.h"

#include <cmath>
#include <map>
#include <optional>

#include "base/text.h"
#include "compilation/keep_f32.h"
#include "compilation/rewrite.h"

namespace regraft::compilation {
namespace {

constexpr std::string_view kScalars[] = {"scalar", "x_scalar", "y_scalar", "value", "min", "max"};

std::optional<double> float_of(const Attribute* attribute) {
  if (attribute == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(attribute)) return *number;
  const auto* size = std::get_if<SymInt>(attribute);
  if (size == nullptr || !size->is_constant()) return std::nullopt;
  return static_cast<double>(size->value());
}

class Lowering {
 public:
  Lowering(ir::Graph& graph, DType low)
      : graph_(graph),
        first_(graph.nodes().empty() ? nullptr : graph.nodes().front().get()),
        low_(low),
        largest_(low == DType::BF16 ? 0x1.FEp127 : 65504.0),
        keep_(graph) {
    for (const ir::Value* input : graph.inputs())
      declared_[input] = input->dtype();
    for (const auto& node : graph.nodes()) {
      for (const ir::Value* output : node->outputs())
        declared_[output] = output->dtype();
    }
  }

  void run() {
    for (ir::Node* node : graph_.node_list()) {
      if (keep_.keeps(*node) || node->op().is_opaque() || !try_lower(node)) raise_inputs(node);
    }
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      ir::Value* value = graph_.outputs()[i].value;
      if (was_f32(*value)) graph_.set_output(i, raised(value));
    }
  }

 private:
  bool was_f32(const ir::Value& value) const {
    const auto found = declared_.find(&value);
    return (found == declared_.end() ? value.dtype() : found->second) == DType::F32;
  }

  // Operands that kernels take in f32 beside 16-bit activations.
  bool may_stay_f32(const ir::Node& node, size_t input) const {
    const bool is_norm = node.is("layer_norm") || node.is("group_norm") || node.is("rms_norm") ||
                         node.is("batch_norm");
    const bool is_mask = node.is("scaled_dot_product_attention") && input == 3;
    return ((is_norm && input > 0) || is_mask) && keep_.is_table(*node.input(input));
  }

  // False, with the node as it was, when its type rule does not take the 16-bit type.
  bool try_lower(ir::Node* node) {
    const std::vector<ir::Value*> inputs(node->inputs().begin(), node->inputs().end());
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i] == nullptr || inputs[i]->dtype() != DType::F32) continue;
      if (!may_stay_f32(*node, i)) graph_.set_input(node, i, lowered(inputs[i]));
    }
    const Attributes before = node->attributes();
    try {
      graph_.set_attributes(node, lowered(*node));
    } catch (const Error&) {
      for (size_t i = 0; i < inputs.size(); ++i)
        graph_.set_input(node, i, inputs[i]);
      return false;
    }
    return true;
  }

  Attributes lowered(const ir::Node& node) const {
    Attributes attributes = node.attributes();
    bool is_low = false;
    for (const ir::Value* input : node.inputs()) {
      is_low = is_low || (input != nullptr && input->dtype() == low_);
    }
    if (!is_low) return attributes;
    const Attribute* dtype = attributes.find("dtype");
    if (dtype != nullptr && *dtype == Attribute(DType::F32)) attributes.set("dtype", low_);
    for (const std::string_view name : kScalars) {
      const auto value = float_of(attributes.find(name));
      if (is_huge(value)) attributes.set(name, std::copysign(largest_, *value));
    }
    return attributes;
  }

  bool is_huge(std::optional<double> value) const {
    return value && std::isfinite(*value) && std::fabs(*value) > largest_;
  }

  void raise_inputs(ir::Node* node) {
    for (size_t i = 0; i < node->inputs().size(); ++i) {
      ir::Value* input = node->input(i);
      if (input != nullptr && was_f32(*input)) graph_.set_input(node, i, raised(input));
    }
  }

  // `value` in the 16-bit type, right behind its producer.
  ir::Value* lowered(ir::Value* value) {
    ir::Value*& low = low_values_[value];
    if (low != nullptr) return low;
    Rewriter at(graph_, behind(value), origin_of(*value));
    ir::Value* from = value;
    if (holds_huge_scalar(*value)) {
      from = at.call("clamp", {from, nullptr, nullptr}, {{"min", -largest_}, {"max", largest_}});
    }
    low = at.cast(from, low_);
    graph_.rename(low, base::cat(value->name(), "_", name(low_)));
    declared_[low] = low_;
    return low;
  }

  // `value` in f32 again.
  ir::Value* raised(ir::Value* value) {
    if (value->dtype() == DType::F32) return value;
    ir::Value*& high = high_values_[value];
    if (high == nullptr) {
      high = Rewriter(graph_, behind(value), origin_of(*value)).cast(value, DType::F32);
      graph_.rename(high, value->name() + "_f32");
    }
    return high;
  }

  // The node in front of which everything may read `value`; null at the end.
  ir::Node* behind(const ir::Value* value) const {
    return value->producer() == nullptr ? first_ : graph_.next(value->producer());
  }

  static ir::Origin origin_of(const ir::Value& value) {
    return value.producer() == nullptr ? ir::Origin{} : value.producer()->origin();
  }

  // Whether a Scalar that the 16-bit type cannot hold went into a table, as into a mask.
  bool holds_huge_scalar(const ir::Value& value) {
    const ir::Node* node = value.producer();
    if (node == nullptr || !keep_.keeps(*node)) return false;
    const auto known = huge_.find(node);
    if (known != huge_.end()) return known->second;
    bool found = false;
    for (const std::string_view name : kScalars) {
      found = found || is_huge(float_of(node->attributes().find(name)));
    }
    for (const ir::Value* input : node->inputs()) {
      found = found || (input != nullptr && holds_huge_scalar(*input));
    }
    return huge_[node] = found;
  }

  ir::Graph& graph_;
  ir::Node* first_;  // Of the nodes there were; what reads parameters and inputs goes before it.
  DType low_;
  double largest_;
  KeepF32 keep_;
  std::map<const ir::Value*, DType> declared_;
  std::map<const ir::Value*, ir::Value*> low_values_, high_values_;
  std::map<const ir::Node*, bool> huge_;
};

}  // namespace

void lower_precision(ir::Graph& graph, const Settings& settings) {
  if (settings.precision == Precision::F32) return;
  Lowering(graph, settings.precision == Precision::BF16 ? DType::BF16 : DType::F16).run();
}

}  // namespace regraft::compilation
