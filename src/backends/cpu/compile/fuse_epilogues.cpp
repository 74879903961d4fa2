#include "backends/cpu/compile/fuse_epilogues.h"

#include <algorithm>
#include <optional>

#include "base/text.h"
#include "compilation/rewrite.h"

namespace regraft::cpu {
namespace {

using ir::Node;
using ir::Value;

// What one reader adds to the epilogue.
struct Item {
  std::string text;
  Value* operand = nullptr;  // The other operand of a binary item.
};

std::optional<double> scalar_of(const Node& node) {
  const Attribute* scalar = node.attributes().find("scalar");
  if (scalar == nullptr || std::holds_alternative<std::monostate>(*scalar)) return std::nullopt;
  return node.attributes().number("scalar");
}

std::string linear(double factor, double summand) {
  return base::cat("linear:", base::float_text(factor), ":", base::float_text(summand));
}

// An arithmetic op with a Scalar, `value` being its only tensor.
std::optional<Item> scalar_item(const Node& node, const Value* value, double scalar) {
  const bool is_left = node.input(size_t{0}) == value;
  if (node.is("add")) return Item{linear(1, scalar)};
  if (node.is("mul")) return Item{linear(scalar, 0)};
  if (node.is("sub")) return Item{is_left ? linear(1, -scalar) : linear(-1, scalar)};
  if (node.is("div") && is_left && scalar != 0 && node.attributes().is_none("rounding")) {
    return Item{linear(1 / scalar, 0)};
  }
  return std::nullopt;
}

std::optional<Item> binary_item(const Node& node, const Value* value) {
  if (const auto scalar = scalar_of(node)) return scalar_item(node, value, *scalar);
  const bool is_left = node.input(size_t{0}) == value;
  Value* other = node.input(is_left ? 1 : 0);
  if (other == value || other == nullptr || other->type().dims != value->dims() ||
      other->dtype() != value->dtype()) {
    return std::nullopt;
  }
  if (node.is("add")) return Item{"add", other};
  if (node.is("mul")) return Item{"mul", other};
  if (node.is("sub") && is_left) return Item{"sub", other};
  if (node.is("minimum")) return Item{"min", other};
  if (node.is("maximum")) return Item{"max", other};
  return std::nullopt;
}

std::optional<Item> unary_item(const Node& node) {
  const Attributes& attributes = node.attributes();
  const auto number = [&](std::string_view name) {
    return base::float_text(attributes.number(name));
  };
  for (const std::string_view plain : {"relu", "silu", "sigmoid", "hardswish", "hardsigmoid",
                                       "tanh", "mish", "abs", "square"}) {
    if (node.is(plain)) return Item{std::string(plain)};
  }
  if (node.is("gelu")) {
    return Item{attributes.text("approximate") == "tanh" ? "gelu_tanh" : "gelu"};
  }
  if (node.is("hardtanh")) return Item{"clip:" + number("min") + ":" + number("max")};
  if (node.is("leaky_relu")) return Item{"leaky_relu:" + number("slope")};
  if (node.is("elu")) return Item{"elu:" + number("alpha")};
  return std::nullopt;
}

std::optional<Item> item_of(const Node& node, const Value* value) {
  if (node.op().is_opaque() || node.output()->type() != value->type()) return std::nullopt;
  return node.inputs().size() == 2 ? binary_item(node, value) : unary_item(node);
}

bool is_kernel_type(DType dtype) { return dtype == DType::F32 || dtype == DType::BF16; }

bool is_fusable(const Node& node) {
  if (node.op().is_opaque() || node.region() == ir::Region::Weight) return false;
  if (!node.is("convolution") && !node.is("linear") && !node.is("matmul")) return false;
  return std::all_of(node.inputs().begin(), node.inputs().end(), [](const Value* input) {
    return input == nullptr || is_kernel_type(input->dtype());
  });
}

// The f32 value of which `bias` is a rounding.
Value* unrounded(Value* bias) {
  if (bias == nullptr || bias->is_parameter() || bias->is_input()) return bias;
  const Node* producer = bias->producer();
  const bool is_rounding = producer->is("cast") && producer->region() == ir::Region::Weight &&
                           producer->input(size_t{0})->dtype() == DType::F32 &&
                           bias->dtype() == DType::BF16;
  return is_rounding ? producer->input(size_t{0}) : bias;
}

void fuse(ir::Graph& graph, Node* node) {
  // oneDNN's vectors have no rows to add operands to.
  const bool takes_operands = !node->is("matmul") || (node->input(size_t{0})->dims().size() > 1 &&
                                                      node->input(1)->dims().size() > 1);
  std::vector<Value*> operands;
  std::vector<std::string> items;
  std::vector<Node*> absorbed{node};
  constexpr size_t kMaxOperands = 4;
  while (compilation::has_one_use(*absorbed.back()->output())) {
    const Value* value = absorbed.back()->output();
    Node* reader = value->users().front();
    if (reader->region() != node->region()) break;
    std::optional<Item> item = item_of(*reader, value);
    if (!item) break;
    if (item->operand != nullptr) {
      if (!takes_operands || operands.size() == kMaxOperands) break;
      operands.push_back(item->operand);
    }
    items.push_back(std::move(item->text));
    absorbed.push_back(reader);
  }
  Node* last = absorbed.back();
  std::vector<Value*> inputs(node->inputs().begin(), node->inputs().end());
  if (!node->is("matmul")) {
    inputs.resize(3, nullptr);
    inputs[2] = unrounded(inputs[2]);
  }
  inputs.insert(inputs.end(), operands.begin(), operands.end());
  Attributes attributes = node->attributes();
  attributes.set("epilogue", base::join(items, ","));
  Node* made = graph.add_opaque("cpu." + node->op().name, inputs, std::move(attributes),
                                {last->output()->type()}, last, last->output()->name());
  made->set_region(node->region());
  made->set_origin(node->origin());
  graph.replace_uses(last->output(), made->output());
  for (auto dead = absorbed.rbegin(); dead != absorbed.rend(); ++dead) graph.erase(*dead);
}

}  // namespace

void fuse_epilogues(ir::Graph& graph) {
  std::vector<Node*> products;
  for (Node* node : graph.node_list()) {
    if (is_fusable(*node)) products.push_back(node);
  }
  // A product is never absorbed itself, so the list stays good.
  for (Node* node : products) fuse(graph, node);
}

}  // namespace regraft::cpu
