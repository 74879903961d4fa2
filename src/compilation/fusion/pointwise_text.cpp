#include "compilation/fusion/pointwise_text.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "tensor/convert.h"

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Value;

constexpr std::string_view kUnary[] = {
    "neg",        "abs",    "exp",         "expm1",       "log",   "log2",      "log10",
    "log1p",      "sqrt",   "rsqrt",       "sin",         "cos",   "tan",       "asin",
    "acos",       "atan",   "sinh",        "cosh",        "tanh",  "asinh",     "acosh",
    "atanh",      "erf",    "sigmoid",     "relu",        "silu",  "hardswish", "hardsigmoid",
    "softplus",   "mish",   "floor",       "ceil",        "round", "trunc",     "sign",
    "reciprocal", "square", "logical_not", "bitwise_not", "isnan", "isinf"};
constexpr std::string_view kBinary[] = {"add",         "sub",         "mul",         "minimum",
                                        "maximum",     "fmod",        "remainder",   "atan2",
                                        "eq",          "ne",          "lt",          "le",
                                        "gt",          "ge",          "logical_and", "logical_or",
                                        "logical_xor", "bitwise_and", "bitwise_or",  "bitwise_xor"};
constexpr std::string_view kOther[] = {"div", "pow",   "gelu",  "hardtanh", "leaky_relu",
                                       "elu", "clamp", "where", "cast"};
// Of integers, these are the identity.
constexpr std::string_view kRounding[] = {"floor", "ceil", "round", "trunc"};

constexpr std::string_view kPredicates[] = {
    "eq",    "ne",    "lt",          "le",         "gt",          "ge",
    "isnan", "isinf", "logical_and", "logical_or", "logical_xor", "logical_not"};
constexpr std::string_view kComparisons[] = {"eq", "ne", "lt", "le", "gt", "ge"};
constexpr std::string_view kBitwise[] = {"bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"};

template <typename List>
bool is_one_of(const Node& node, const List& names) {
  return std::any_of(std::begin(names), std::end(names),
                     [&](std::string_view name) { return node.is(name); });
}

bool is_lane_type(DType dtype) { return dtype != DType::F64 && !is_complex(dtype); }

// A number compared with a 16-bit float is rounded to it first, as in PyTorch.
std::string rounded_text(double number, DType dtype) {
  return base::float_text(dtype == DType::BF16 ? to_float(to_bfloat16(static_cast<float>(number)))
                                               : to_float(to_half(number)));
}

std::string number_text(const Attribute& number) {
  if (const auto* flag = std::get_if<bool>(&number)) return *flag ? "true" : "false";
  if (const auto* size = std::get_if<SymInt>(&number)) return std::to_string(size->value());
  return base::float_text(std::get<double>(number));
}

// A Scalar attribute that is a number, not a symbol or None.
bool is_number(const Attribute* attribute) {
  if (attribute == nullptr) return false;
  if (const auto* size = std::get_if<SymInt>(attribute)) return size->is_constant();
  return std::holds_alternative<bool>(*attribute) || std::holds_alternative<double>(*attribute);
}

// The names of the Scalars that stand for absent tensors, by operand.
std::string_view scalar_name(const Node& node, size_t operand) {
  if (node.is("where")) return operand == 1 ? "x_scalar" : "y_scalar";
  if (node.is("clamp")) return operand == 1 ? "min" : "max";
  return "scalar";
}

bool has_operand(const Node& node, size_t i) {
  return node.input(i) != nullptr || is_number(node.attributes().find(scalar_name(node, i)));
}

}  // namespace

bool is_program_op(const Node& node) {
  if (node.op().is_opaque() || node.outputs().size() != 1) return false;
  if (!is_one_of(node, kUnary) && !is_one_of(node, kBinary) && !is_one_of(node, kOther)) {
    return false;
  }
  const DType result = node.output()->dtype();
  if (!is_lane_type(result)) return false;
  for (const Value* input : node.inputs()) {
    if (input != nullptr && !is_lane_type(input->dtype())) return false;
  }
  // Computed in f32, which does not hold every integer.
  const bool is_integer = is_integral(result);
  if (node.is("pow") && is_integer) return false;
  if (node.is("sign") && result == DType::Bool) return false;
  if (node.is("where")) return has_operand(node, 1) && has_operand(node, 2);
  if (node.is("clamp")) return has_operand(node, 1) || has_operand(node, 2);
  for (size_t i = 0; i < node.inputs().size(); ++i) {
    if (!has_operand(node, i)) return false;
  }
  return true;
}

std::string append_instructions(const Node& node,
                                const std::function<std::string(const Value*)>& operand,
                                std::vector<std::string>& lines) {
  const Attributes& attributes = node.attributes();
  const auto emit = [&](const std::string& line) {
    lines.push_back(line);
    return base::cat("r", lines.size() - 1);
  };
  const auto source = [&](size_t i) {
    const Value* input = node.input(i);
    if (input != nullptr) return operand(input);
    const Attribute& number = *attributes.find(scalar_name(node, i));
    if (is_one_of(node, kComparisons)) {
      const DType other = node.input(1 - i)->dtype();
      const bool is_short = other == DType::BF16 || other == DType::F16;
      if (const auto* value = std::get_if<double>(&number); value != nullptr && is_short) {
        return rounded_text(*value, other);
      }
    }
    return number_text(number);
  };
  const auto attribute = [&](std::string_view name) {
    return base::float_text(attributes.number(name));
  };
  const DType result = node.output()->dtype();
  // What the program calculates in 64 bits is cut to the result's; comparisons give bools.
  const bool is_predicate =
      result == DType::Bool &&
      (is_one_of(node, kPredicates) ||
       (node.input(size_t{0}) != nullptr && node.input(size_t{0})->dtype() == DType::Bool &&
        is_one_of(node, kBitwise)));
  const auto finish = [&](const std::string& value) {
    if (is_floating(result) || result == DType::I64 || is_predicate) return value;
    return emit(base::cat("cast:", name(result), " ", value));
  };
  const std::string x = source(0);
  if (node.is("cast")) {
    // What the program states is rounded; results of other 16-bit ops are not.
    return emit(base::cat("cast:", name(result), " ", x));
  }
  if (is_one_of(node, kRounding) && !is_floating(node.input(size_t{0})->dtype())) return x;
  if (node.is("gelu")) {
    return emit((attributes.text("approximate") == "tanh" ? "gelu_tanh " : "gelu ") + x);
  }
  if (node.is("hardtanh")) {
    return finish(emit(base::cat("clamp ", x, " ", attribute("min"), " ", attribute("max"))));
  }
  if (node.is("leaky_relu")) return emit(base::cat("leaky_relu ", x, " ", attribute("slope")));
  if (node.is("elu")) return emit(base::cat("elu ", x, " ", attribute("alpha")));
  if (node.is("clamp")) {
    std::string value = x;
    if (has_operand(node, 1)) value = emit(base::cat("maximum ", value, " ", source(1)));
    if (has_operand(node, 2)) value = emit(base::cat("minimum ", value, " ", source(2)));
    return finish(value);
  }
  if (node.is("where")) {
    return finish(emit(base::cat("where ", x, " ", source(1), " ", source(2))));
  }
  if (node.is("pow") && node.input(1) == nullptr && std::abs(attributes.number("scalar")) == 0.5) {
    // PyTorch takes square roots for these, which differ from pow at -inf and -0.
    return emit(base::cat(attributes.number("scalar") > 0 ? "sqrt " : "rsqrt ", x));
  }
  if (node.inputs().size() == 2) {
    std::string op = node.op().name;
    if (node.is("div") && !attributes.is_none("rounding")) op += "_" + attributes.text("rounding");
    return finish(emit(base::cat(op, " ", x, " ", source(1))));
  }
  return finish(emit(base::cat(node.op().name, " ", x)));
}

}  // namespace regraft::compilation
