#include "backends/cpu/compile/layout.h"

#include <algorithm>
#include <numeric>
#include <string_view>

namespace regraft::cpu {
namespace {

using ir::Node;
using ir::Value;
using Order = Layouts::Order;

Order row_major_order(size_t rank) {
  Order order(rank);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

Order channels_last_order(size_t rank) {
  Order order = row_major_order(rank);
  if (rank > 2) std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  return order;
}

bool is_one_of(const Node& node, std::initializer_list<std::string_view> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](std::string_view name) { return node.is(name); });
}

// Ops on images whose result best lies as their first operand.
bool follows_first(const Node& node) {
  return is_one_of(node, {"max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool",
                          "upsample_nearest", "upsample_bilinear", "upsample_bicubic",
                          "group_norm", "pad", "softmax", "log_softmax"});
}

bool writes_any_order(const Node& node) {
  return is_one_of(node, {"scaled_dot_product_attention", "matmul", "cpu.matmul"});
}

// The dims of a permute, each in [0, rank).
Order permutation(const Node& node) {
  const auto rank = static_cast<int64_t>(node.output()->dims().size());
  Order out;
  for (const int64_t dim : node.attributes().integers("dims")) {
    out.push_back(static_cast<size_t>(dim < 0 ? dim + rank : dim));
  }
  return out;
}

}  // namespace

Layouts::Layouts(const ir::Graph& graph) {
  for (const Value* input : graph.inputs()) orders_[input] = row_major_order(input->dims().size());
  for (const ir::Graph::Parameter& parameter : graph.parameters()) {
    orders_[parameter.value] = row_major_order(parameter.value->dims().size());
  }
  for (const auto& node : graph.nodes()) {
    for (const Value* output : node->outputs()) {
      const bool is_first = output == node->output();
      orders_[output] = is_first ? result_order(*node) : row_major_order(output->dims().size());
    }
    // Indices lie as the values.
    if (node->outputs().size() == 2 && follows_first(*node)) {
      orders_[node->output(1)] = orders_[node->output(0)];
    }
  }
}

Order Layouts::result_order(const Node& node) const {
  const Value* result = node.output();
  const size_t rank = result->dims().size();
  if (node.region() == ir::Region::Weight || result->is_graph_output()) {
    return row_major_order(rank);
  }
  if (node.is("permute")) {
    // As a view: dimension i of the result is dimension dims[i] of the operand.
    const Order dims = permutation(node);
    Order order;
    for (const size_t d : orders_.at(node.input(size_t{0}))) {
      order.push_back(static_cast<size_t>(std::find(dims.begin(), dims.end(), d) - dims.begin()));
    }
    return order;
  }
  if (node.is("slice")) return orders_.at(node.input(size_t{0}));
  if (is_one_of(node, {"convolution", "cpu.convolution"})) return channels_last_order(rank);
  if (writes_any_order(node)) {
    const auto& users = result->users();
    const bool is_permuted = users.size() == 1 && users.front()->is("permute");
    return is_permuted ? permutation(*users.front()) : row_major_order(rank);
  }
  if (node.is("cpu.pointwise") || node.is("cat") || follows_first(node)) return followed(node);
  return row_major_order(rank);
}

// The order of the first input of the result's dims that is not row-major, else row-major.
Order Layouts::followed(const Node& node) const {
  const size_t rank = node.output()->dims().size();
  const bool any_size = !node.is("cpu.pointwise");
  for (const Value* input : node.inputs()) {
    if (input == nullptr || input->dims().size() != rank || is_row_major(input)) continue;
    if (any_size || input->dims() == node.output()->dims()) return orders_.at(input);
  }
  return row_major_order(rank);
}

bool Layouts::is_row_major(const Value* value) const {
  const Order& order = orders_.at(value);
  return std::is_sorted(order.begin(), order.end());
}

SymDims Layouts::strides(const Value* value) const {
  const Order& order = orders_.at(value);
  SymDims strides(order.size(), 1);
  SymInt stride = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride = stride * value->dims()[order[i]];
  }
  return strides;
}

}  // namespace regraft::cpu
