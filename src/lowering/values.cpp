#include "lowering/values.h"

#include <set>
#include <vector>

namespace regraft::lowering {

bool is_weight(const ir::Value* value) {
  std::vector<const ir::Value*> open{value};
  std::set<const ir::Node*> seen;
  bool has_parameter = false;
  while (!open.empty()) {
    const ir::Value* next = open.back();
    open.pop_back();
    if (next == nullptr) continue;
    if (next->is_input()) return false;
    if (next->is_parameter()) {
      has_parameter = true;
      continue;
    }
    const ir::Node* node = next->producer();
    if (node->op().is_opaque()) return false;
    // A chain this long is no weight's; the bound keeps the walk from being quadratic.
    constexpr size_t kMost = 64;
    if (!seen.insert(node).second) continue;
    if (seen.size() > kMost) return false;
    open.insert(open.end(), node->inputs().begin(), node->inputs().end());
  }
  return has_parameter;
}

ir::Node* producer(const ir::Value* value, std::string_view op) {
  if (value == nullptr || value->producer() == nullptr) return nullptr;
  return value->producer()->is(op) ? value->producer() : nullptr;
}

bool swaps_last_two(const ir::Node* permute) {
  const Dims order = permute->attributes().integers("dims");
  const size_t rank = order.size();
  if (rank < 2) return false;
  for (size_t i = 0; i < rank; ++i) {
    const size_t want = i + 2 < rank ? i : i + 2 == rank ? rank - 1 : rank - 2;
    if (order[i] != static_cast<int64_t>(want)) return false;
  }
  return true;
}

ir::Value* transposed(ir::Graph& graph, ir::Value* matrix, ir::Node* before) {
  const ir::Node* permute = producer(matrix, "permute");
  if (permute != nullptr && swaps_last_two(permute)) return permute->input(0);
  SymDims order;
  for (size_t i = 0; i < matrix->dims().size(); ++i)
    order.push_back(static_cast<int64_t>(i));
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  return graph.add("permute", {matrix}, {{"dims", order}}, before)->output();
}

namespace {

// Passes leave nodes that nothing reads until their end; those do not count as readers.
bool is_read(const ir::Node* node, int depth) {
  for (const ir::Value* output : node->outputs()) {
    if (output->is_graph_output()) return true;
    for (const ir::Node* user : output->users()) {
      if (depth == 0 || is_read(user, depth - 1)) return true;
    }
  }
  return false;
}

}  // namespace

ir::Node* only_user(const ir::Value* value) {
  constexpr int kDepth = 8;
  if (value->is_graph_output()) return nullptr;
  ir::Node* found = nullptr;
  for (ir::Node* user : value->users()) {
    if (user == found || !is_read(user, kDepth)) continue;
    if (found != nullptr) return nullptr;
    found = user;
  }
  return found;
}

std::optional<double> scalar_of(const ir::Node* node) {
  if (node->attributes().is_none("scalar")) return std::nullopt;
  const Attribute& scalar = *node->attributes().find("scalar");
  const auto* size = std::get_if<SymInt>(&scalar);
  if (size != nullptr && !size->is_constant()) return std::nullopt;
  return node->attributes().number("scalar");
}

ir::Value* beside_scalar(const ir::Node* node) {
  if (node->inputs().size() < 2) return nullptr;
  ir::Value *x = node->input(0), *y = node->input(1);
  return x == nullptr ? y : y == nullptr ? x : nullptr;
}

std::optional<double> constant_of(const ir::Value* value) {
  const ir::Node* node = value->producer();
  while (node != nullptr && (node->is("expand") || node->is("reshape") || node->is("cast"))) {
    node = node->input(0)->producer();
  }
  if (node == nullptr || !node->is("full")) return std::nullopt;
  const Attribute& number = *node->attributes().find("value");
  const auto* size = std::get_if<SymInt>(&number);
  if (size != nullptr && !size->is_constant()) return std::nullopt;
  return node->attributes().number("value");
}

}  // namespace regraft::lowering
