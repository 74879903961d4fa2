#include "compilation/fusion/fuse_epilogues.h"

#include <algorithm>

#include "base/text.h"
#include "compilation/fusion/epilogue_item.h"
#include "compilation/rewrite.h"

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Value;

bool is_fusable(const Node& node, const FusionTarget& target) {
  if (node.op().is_opaque() || node.region() == ir::Region::Weight) return false;
  const bool is_norm = target.fuses_norms && node.is("group_norm");
  if (!node.is("convolution") && !node.is("linear") && !node.is("matmul") && !is_norm) return false;
  return std::all_of(node.inputs().begin(), node.inputs().end(), [&](const Value* input) {
    return input == nullptr || target.is_product_type(input->dtype());
  });
}

// The f32 value of which `bias` is a rounding.
Value* unrounded(Value* bias) {
  if (bias == nullptr || bias->is_parameter() || bias->is_input()) return bias;
  const Node* producer = bias->producer();
  const bool is_rounding = producer->is("cast") && producer->region() == ir::Region::Weight &&
                           producer->input(size_t{0})->dtype() == DType::F32 &&
                           item_size(bias->dtype()) == 2;
  return is_rounding ? producer->input(size_t{0}) : bias;
}

// The cast to f32 that is all that reads a 16-bit linear. Null where there is none, or a bias that
// was rounded before.
Node* widening(const Node& linear, const FusionTarget& target) {
  const Value* value = linear.output();
  if (!target.widens_linears || !linear.is("linear") || item_size(value->dtype()) != 2 ||
      !has_one_use(*value)) {
    return nullptr;
  }
  Node* reader = value->users().front();
  const bool has_bias = linear.inputs().size() > 2 && linear.input(2) != nullptr;
  const bool is_widening = reader->is("cast") && reader->region() == linear.region() &&
                           reader->output()->dtype() == DType::F32 &&
                           (!has_bias || unrounded(linear.input(2))->dtype() == DType::F32);
  return is_widening ? reader : nullptr;
}

void fuse(ir::Graph& graph, Node* node, const FusionTarget& target) {
  // Vectors have no rows to add operands to.
  const bool takes_operands = !node->is("group_norm") &&
                              (!node->is("matmul") || (node->input(size_t{0})->dims().size() > 1 &&
                                                       node->input(1)->dims().size() > 1));
  std::vector<Value*> operands;
  std::vector<std::string> items;
  std::vector<Node*> absorbed{node};
  constexpr size_t kMaxOperands = 4;
  while (has_one_use(*absorbed.back()->output())) {
    const Value* value = absorbed.back()->output();
    Node* reader = value->users().front();
    if (reader->region() != node->region()) break;
    std::optional<EpilogueItem> item = epilogue_item(*reader, value);
    if (!item) break;
    if (item->operand != nullptr) {
      if (!takes_operands || operands.size() == kMaxOperands) break;
      // The columns of a linear are its last dimension.
      if (!item->is_full && !node->is("linear")) break;
      operands.push_back(item->operand);
    }
    items.push_back(std::move(item->text));
    absorbed.push_back(reader);
  }
  Node* cast = items.empty() ? widening(*node, target) : nullptr;
  if (cast != nullptr) absorbed.push_back(cast);
  Node* last = absorbed.back();
  std::vector<Value*> inputs(node->inputs().begin(), node->inputs().end());
  if (!node->is("matmul")) {
    inputs.resize(3, nullptr);
    if (target.adds_f32_bias || cast != nullptr) inputs[2] = unrounded(inputs[2]);
  }
  inputs.insert(inputs.end(), operands.begin(), operands.end());
  Attributes attributes = node->attributes();
  attributes.set("epilogue", base::join(items, ","));
  Node* made = graph.add_opaque(target.fused(node->op().name), inputs, std::move(attributes),
                                {last->output()->type()}, last, last->output()->name());
  made->set_region(node->region());
  made->set_origin(node->origin());
  graph.replace_uses(last->output(), made->output());
  for (auto dead = absorbed.rbegin(); dead != absorbed.rend(); ++dead)
    graph.erase(*dead);
}

}  // namespace

void fuse_epilogues(ir::Graph& graph, const FusionTarget& target) {
  std::vector<Node*> products;
  for (Node* node : graph.node_list()) {
    if (is_fusable(*node, target)) products.push_back(node);
  }
  // A product is never absorbed itself, so the list stays good.
  for (Node* node : products)
    fuse(graph, node, target);
}

}  // namespace regraft::compilation
