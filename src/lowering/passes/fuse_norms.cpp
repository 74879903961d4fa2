#include "lowering/passes/passes.h"
#include "lowering/passes/rewrite.h"
#include "lowering/values.h"

namespace regraft::lowering::passes {
namespace {

struct Normalised {
  ir::Value* x = nullptr;
  double eps = 0;
};

// x and eps of rsqrt(mean(x^2, last axis, kept) + eps), or nothing.
Normalised inverse_rms(const ir::Value* value) {
  ir::Value* sum = nullptr;
  if (const ir::Node* rsqrt = producer(value, "rsqrt")) sum = rsqrt->input(0);
  const ir::Node* add = sum == nullptr ? nullptr : producer(sum, "add");
  if (add == nullptr || !scalar_of(add)) return {};
  const ir::Node* mean = producer(beside_scalar(add), "mean");
  if (mean == nullptr || !mean->attributes().flag("keepdim")) return {};
  const ir::Value* squares = mean->input(0);
  const int64_t last = static_cast<int64_t>(squares->dims().size()) - 1;
  if (mean->attributes().is_none("dims") ||
      !(mean->attributes().sizes("dims") == SymDims{SymInt(last)}) ||
      squares->dtype() != value->dtype()) {
    return {};
  }
  if (const ir::Node* square = producer(squares, "square")) {
    return {square->input(0), *scalar_of(add)};
  }
  const ir::Node* product = producer(squares, "mul");
  if (product != nullptr && product->input(0) == product->input(1)) {
    return {product->input(0), *scalar_of(add)};
  }
  return {};
}

// x * rsqrt(mean(x^2) + eps)
void fuse_rms(ir::Graph& graph, ir::Node* node) {
  for (size_t i = 0; i < 2; ++i) {
    ir::Value *x = node->input(i), *factor = node->input(1 - i);
    if (x == nullptr || factor == nullptr) return;
    const Normalised normalised = inverse_rms(factor);
    const bool has_features = !x->dims().empty() && x->dims().back().is_constant();
    if (normalised.x != x || !has_features || !is_floating(x->dtype())) continue;
    Rewriter rewrite(graph, node);
    return rewrite.replace_root(rewrite.emit(
        "rms_norm", {x, nullptr}, {{"dims", SymDims{x->dims().back()}}, {"eps", normalised.eps}}));
  }
}

// rms_norm(x) * weight. In 16-bit types the product rounds once more than the composite.
void add_weight(ir::Graph& graph, ir::Node* node) {
  for (size_t i = 0; i < 2; ++i) {
    const ir::Node* norm = producer(node->input(i), "rms_norm");
    ir::Value* weight = node->input(1 - i);
    if (norm == nullptr || weight == nullptr || norm->input(1) != nullptr) continue;
    if (!(weight->dims() == norm->attributes().sizes("dims")) ||
        only_user(norm->output()) == nullptr || weight->dtype() != norm->output()->dtype() ||
        item_size(weight->dtype()) < 4) {
      continue;
    }
    Rewriter rewrite(graph, node);
    return rewrite.replace_root(
        rewrite.emit("rms_norm", {norm->input(0), weight}, norm->attributes()));
  }
}

// cast(rms_norm(cast(x, f32)), its own dtype): what rms_norm of x computes.
void drop_casts(ir::Graph& graph, ir::Node* node) {
  const ir::Node* norm = producer(node->input(0), "rms_norm");
  const ir::Node* widen = norm == nullptr ? nullptr : producer(norm->input(0), "cast");
  if (widen == nullptr || norm->input(1) != nullptr) return;
  ir::Value* x = widen->input(0);
  if (x->dtype() != node->output()->dtype() || norm->output()->dtype() != DType::F32) return;
  if (x->dtype() != DType::BF16 && x->dtype() != DType::F16) return;
  Rewriter rewrite(graph, node);
  rewrite.replace_root(rewrite.emit("rms_norm", {x, nullptr}, norm->attributes()));
}

}  // namespace

void fuse_norms(ir::Graph& graph) {
  for_each_used(graph, [&](ir::Node* node) {
    if (node->is("mul")) fuse_rms(graph, node);
  });
  for_each_used(graph, [&](ir::Node* node) {
    if (node->is("cast")) drop_casts(graph, node);
    if (node->is("mul")) add_weight(graph, node);
  });
}

}  // namespace regraft::lowering::passes
