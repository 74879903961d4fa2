#include "compilation/fusion/epilogue_item.h"

#include "base/text.h"

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Value;

// The Scalar of an arithmetic op, if it is a number.
std::optional<double> scalar_of(const Node& node) {
  const Attribute* scalar = node.attributes().find("scalar");
  if (scalar == nullptr || std::holds_alternative<std::monostate>(*scalar)) return std::nullopt;
  const auto* size = std::get_if<SymInt>(scalar);
  if (size != nullptr && !size->is_constant()) return std::nullopt;
  return node.attributes().number("scalar");
}

// Whether `other` has one number per column of `value` and broadcasts.
bool is_row(const Value& other, const Value& value) {
  const SymDims& dims = other.dims();
  if (dims.empty() || dims.size() > value.dims().size() || dims.back() != value.dims().back()) {
    return false;
  }
  for (size_t d = 0; d + 1 < dims.size(); ++d) {
    if (!(dims[d] == SymInt(1))) return false;
  }
  return true;
}

std::string linear(double factor, double summand) {
  return base::cat("linear:", base::float_text(factor), ":", base::float_text(summand));
}

// An arithmetic op with a Scalar, `value` being its only tensor.
std::optional<EpilogueItem> scalar_item(const Node& node, const Value* value, double scalar) {
  const bool is_left = node.input(size_t{0}) == value;
  if (node.is("add")) return EpilogueItem{linear(1, scalar)};
  if (node.is("mul")) return EpilogueItem{linear(scalar, 0)};
  if (node.is("sub")) return EpilogueItem{is_left ? linear(1, -scalar) : linear(-1, scalar)};
  if (node.is("div") && is_left && scalar != 0 && node.attributes().is_none("rounding")) {
    return EpilogueItem{linear(1 / scalar, 0)};
  }
  return std::nullopt;
}

std::optional<EpilogueItem> binary_item(const Node& node, const Value* value) {
  if (const auto scalar = scalar_of(node)) return scalar_item(node, value, *scalar);
  const bool is_left = node.input(size_t{0}) == value;
  Value* other = node.input(is_left ? 1 : 0);
  if (other == value || other == nullptr || other->dtype() != value->dtype()) return std::nullopt;
  const bool is_full = other->dims() == value->dims();
  if (!is_full && !is_row(*other, *value)) return std::nullopt;
  std::string_view name;
  if (node.is("add")) name = "add";
  if (node.is("mul")) name = "mul";
  if (node.is("sub") && is_left) name = "sub";
  if (node.is("minimum")) name = "min";
  if (node.is("maximum")) name = "max";
  if (name.empty()) return std::nullopt;
  return EpilogueItem{std::string(name), other, is_full};
}

std::optional<EpilogueItem> unary_item(const Node& node) {
  const Attributes& attributes = node.attributes();
  const auto number = [&](std::string_view name) {
    return base::float_text(attributes.number(name));
  };
  for (const std::string_view plain :
       {"relu", "silu", "sigmoid", "hardswish", "hardsigmoid", "tanh", "mish", "abs", "square"}) {
    if (node.is(plain)) return EpilogueItem{std::string(plain)};
  }
  if (node.is("gelu")) {
    return EpilogueItem{attributes.text("approximate") == "tanh" ? "gelu_tanh" : "gelu"};
  }
  if (node.is("hardtanh")) return EpilogueItem{"clip:" + number("min") + ":" + number("max")};
  if (node.is("leaky_relu")) return EpilogueItem{"leaky_relu:" + number("slope")};
  if (node.is("elu")) return EpilogueItem{"elu:" + number("alpha")};
  return std::nullopt;
}

}  // namespace

std::optional<EpilogueItem> epilogue_item(const Node& node, const Value* value) {
  if (node.op().is_opaque() || node.output()->type() != value->type()) return std::nullopt;
  return node.inputs().size() == 2 ? binary_item(node, value) : unary_item(node);
}

}  // namespace regraft::compilation
