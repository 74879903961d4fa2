#include "compilation/view_rules.h"

#include <algorithm>
#include <optional>

namespace regraft::compilation {
namespace {

// The index of the only tensor operand; nothing when there are several.
std::optional<size_t> only_tensor(const ir::Node& node) {
  std::optional<size_t> only;
  for (size_t i = 0; i < node.inputs().size(); ++i) {
    if (node.input(i) == nullptr) continue;
    if (only) return std::nullopt;
    only = i;
  }
  return only;
}

// The node again, with `by` as operand i.
ir::Value* with_operand(const ir::Node& node, size_t i, ir::Value* by, Rewriter& at) {
  std::vector<ir::Value*> inputs(node.inputs().begin(), node.inputs().end());
  inputs[i] = by;
  return at.call(node.op().name, inputs, node.attributes());
}

// What makes operand i, if it is an `op`.
const ir::Node* maker_of(const ir::Node& node, size_t i, std::string_view op) {
  const ir::Value* x = node.input(i);
  return x != nullptr && x->producer() != nullptr && x->producer()->is(op) ? x->producer()
                                                                           : nullptr;
}

bool is_pointwise(const ir::Node& node) {
  return node.op().has(ops::kPointwise) && node.outputs().size() == 1;
}

// Whether the op gives the same type with `by` as operand i.
bool keeps_type(const ir::Node& node, size_t i, const ir::Value& by) {
  std::vector<const TensorType*> types;
  for (const ir::Value* input : node.inputs()) {
    types.push_back(input == nullptr ? nullptr : &input->type());
  }
  types[i] = &by.type();
  Attributes attributes = node.attributes();
  try {
    return ops::infer_types(node.op(), types, attributes)[0] == node.output()->type();
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::vector<size_t> order_of(const ir::Node& permute) {
  std::vector<size_t> order;
  const Dims dims = permute.attributes().integers("dims");
  for (const int64_t dim : dims) {
    order.push_back(static_cast<size_t>(dim < 0 ? dim + static_cast<int64_t>(dims.size()) : dim));
  }
  return order;
}

ir::Node* producer_of(const ir::Node& node, std::string_view op) {
  ir::Value* x = node.input(size_t{0});
  ir::Node* producer = x == nullptr ? nullptr : x->producer();
  return producer != nullptr && producer->is(op) ? producer : nullptr;
}

ir::Value* reshape_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  if (x->dims() == node.output()->dims()) return x;
  const ir::Node* inner = producer_of(node, "reshape");
  return inner == nullptr ? nullptr : at.reshape(inner->input(size_t{0}), node.output()->dims());
}

ir::Value* permute_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  const std::vector<size_t> order = order_of(node);
  if (std::is_sorted(order.begin(), order.end())) return x;
  if (const ir::Node* inner = producer_of(node, "permute")) {
    const std::vector<size_t> first = order_of(*inner);
    SymDims both;
    for (const size_t dim : order)
      both.push_back(static_cast<int64_t>(first[dim]));
    return at.call("permute", {inner->input(size_t{0})}, {{"dims", both}});
  }
  std::vector<size_t> moved;
  for (const size_t dim : order) {
    if (!(x->dims()[dim] == SymInt(1))) moved.push_back(dim);
  }
  if (!std::is_sorted(moved.begin(), moved.end())) return nullptr;
  return at.reshape(x, node.output()->dims());
}

ir::Value* sandwich_rule(const ir::Node& node, Rewriter& at) {
  const ir::Node* middle = node.input(size_t{0})->producer();
  if (middle == nullptr || !is_pointwise(*middle) || !has_one_use(*middle->output())) {
    return nullptr;
  }
  const auto i = only_tensor(*middle);
  const ir::Node* inner = i ? maker_of(*middle, *i, "permute") : nullptr;
  if (inner == nullptr) return nullptr;
  const std::vector<size_t> first = order_of(*inner);
  const std::vector<size_t> second = order_of(node);
  for (size_t dim = 0; dim < second.size(); ++dim) {
    if (first[second[dim]] != dim) return nullptr;
  }
  return with_operand(*middle, *i, inner->input(size_t{0}), at);
}

ir::Value* expand_rule(const ir::Node& node, Rewriter& at) {
  ir::Value* x = node.input(size_t{0});
  if (x->dims() == node.output()->dims()) return x;
  const ir::Node* inner = producer_of(node, "expand");
  if (inner == nullptr) return nullptr;
  return at.call("expand", {inner->input(size_t{0})}, {{"dims", node.output()->dims()}});
}

ir::Value* sink_expand_rule(const ir::Node& node, Rewriter& at) {
  const bool is_lookup = node.is("embedding");
  if (!is_lookup && !is_pointwise(node)) return nullptr;
  const auto i = is_lookup ? size_t{1} : only_tensor(node);
  const ir::Node* expand = i ? maker_of(node, *i, "expand") : nullptr;
  if (expand == nullptr) return nullptr;
  ir::Value* small = with_operand(node, *i, expand->input(size_t{0}), at);
  if (small->dtype() != node.output()->dtype()) return nullptr;
  return at.call("expand", {small}, {{"dims", node.output()->dims()}});
}

ir::Value* implied_expand_rule(const ir::Node& node, Rewriter& at) {
  const bool is_attention = node.is("scaled_dot_product_attention");
  if (!is_attention && !is_pointwise(node)) return nullptr;
  // Of attention, only the mask broadcasts to what the others give.
  for (size_t i = is_attention ? 3 : 0; i < node.inputs().size(); ++i) {
    const ir::Node* expand = maker_of(node, i, "expand");
    if (expand == nullptr) continue;
    ir::Value* inner = expand->input(size_t{0});
    if (keeps_type(node, i, *inner)) return with_operand(node, i, inner, at);
  }
  return nullptr;
}

// A slice that is as long as its operand begins at 0.
ir::Value* slice_rule(const ir::Node& node, Rewriter&) {
  ir::Value* x = node.input(size_t{0});
  const SymInt& step = node.attributes().size("step");
  return x->dims() == node.output()->dims() && step == SymInt(1) ? x : nullptr;
}

ir::Value* repeat_rule(const ir::Node& node, Rewriter& at) {
  const SymDims& repeats = node.attributes().sizes("repeats");
  const bool once = std::all_of(repeats.begin(), repeats.end(),
                                [](const SymInt& count) { return count == SymInt(1); });
  return once ? at.reshape(node.input(size_t{0}), node.output()->dims()) : nullptr;
}

ir::Value* cat_rule(const ir::Node& node, Rewriter&) {
  return node.inputs().size() == 1 ? node.input(size_t{0}) : nullptr;
}

}  // namespace regraft::compilation
