#include "lowering/passes/passes.h"
#include "lowering/passes/rewrite.h"
#include "lowering/values.h"

namespace regraft::lowering::passes {
namespace {

bool is_identity_order(const Dims& order) {
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

// Two permutes in a row are one; none when they cancel.
void simplify_permute(Rewriter& rewrite, const ir::Node* node) {
  ir::Value* x = node->input(0);
  Dims order = node->attributes().integers("dims");
  const ir::Node* inner = producer(x, "permute");
  if (inner != nullptr) {
    const Dims first = inner->attributes().integers("dims");
    for (int64_t& axis : order)
      axis = first[static_cast<size_t>(axis)];
    x = inner->input(0);
  }
  if (is_identity_order(order)) return rewrite.replace_root(x);
  if (inner != nullptr)
    rewrite.replace_root(rewrite.emit("permute", {x}, {{"dims", to_sym(order)}}));
}

void simplify_reshape(Rewriter& rewrite, const ir::Node* node) {
  ir::Value* x = node->input(0);
  if (x->dims() == node->output()->dims()) return rewrite.replace_root(x);
  if (const ir::Node* inner = producer(x, "reshape")) {
    rewrite.replace_root(rewrite.reshape(inner->input(0), node->output()->dims()));
  }
}

void simplify_expand(Rewriter& rewrite, const ir::Node* node) {
  ir::Value* x = node->input(0);
  if (x->dims() == node->output()->dims()) return rewrite.replace_root(x);
  if (const ir::Node* inner = producer(x, "expand")) {
    rewrite.replace_root(
        rewrite.emit("expand", {inner->input(0)}, {{"dims", node->output()->dims()}}));
  }
}

bool is_integer_or_bool(DType dtype) { return dtype == DType::Bool || is_integral(dtype); }

// x + 0 of integers, x * 1 and x / 1: exact, signed zeros included.
void simplify_arithmetic(Rewriter& rewrite, const ir::Node* node) {
  const std::optional<double> scalar = scalar_of(node);
  ir::Value* x = beside_scalar(node);
  if (!scalar || x == nullptr || !(x->type() == node->output()->type())) return;
  const bool scalar_is_right = node->input(1) == nullptr;
  const bool is_neutral = (node->is("mul") && *scalar == 1) ||
                          (node->is("div") && *scalar == 1 && scalar_is_right) ||
                          (node->is("add") && *scalar == 0 && is_integer_or_bool(x->dtype())) ||
                          (node->is("sub") && *scalar == 0 && scalar_is_right);
  const bool rounds = node->is("div") && !node->attributes().is_none("rounding");
  if (is_neutral && !rounds) rewrite.replace_root(x);
}

// true & x, false | x of bools.
void simplify_logic(Rewriter& rewrite, const ir::Node* node) {
  const double neutral = node->is("bitwise_and") || node->is("logical_and") ? 1 : 0;
  for (size_t i = 0; i < 2; ++i) {
    ir::Value* other = node->input(1 - i);
    if (node->input(i) == nullptr || other == nullptr) continue;
    if (constant_of(node->input(i)) != neutral) continue;
    if (!(other->type() == node->output()->type()) || other->dtype() != DType::Bool) continue;
    return rewrite.replace_root(other);
  }
}

}  // namespace

void simplify(ir::Graph& graph, ir::Node* node) {
  Rewriter rewrite(graph, node);
  if (node->is("permute")) return simplify_permute(rewrite, node);
  if (node->is("reshape")) return simplify_reshape(rewrite, node);
  if (node->is("expand")) return simplify_expand(rewrite, node);
  if (node->is("mul") || node->is("div") || node->is("add") || node->is("sub")) {
    return simplify_arithmetic(rewrite, node);
  }
  if (node->is("bitwise_and") || node->is("logical_and") || node->is("bitwise_or") ||
      node->is("logical_or")) {
    return simplify_logic(rewrite, node);
  }
  const bool is_same = node->is("cast") || node->is("slice");
  if (is_same && node->input(0)->type() == node->output()->type() &&
      (node->is("cast") || (node->attributes().size("start") == SymInt(0) &&
                            node->attributes().size("step") == SymInt(1)))) {
    rewrite.replace_root(node->input(0));
  }
}

void simplify(ir::Graph& graph) {
  for_each_used(graph, [&](ir::Node* node) { simplify(graph, node); });
}

}  // namespace regraft::lowering::passes
