#include <algorithm>
#include <optional>

#include "lowering/passes/passes.h"
#include "lowering/passes/rewrite.h"
#include "lowering/values.h"

// From matrix products to linear layers: PyTorch's core decomposition flattens batches, expands
// weights over them and transposes weights.
namespace regraft::lowering::passes {
namespace {

SymDims leading(const SymDims& dims, size_t keep) {
  return {dims.begin(), dims.end() - static_cast<ptrdiff_t>(keep)};
}

bool same_tail(const SymDims& a, const SymDims& b, size_t count) {
  return a.size() >= count && b.size() >= count &&
         std::equal(a.end() - static_cast<ptrdiff_t>(count), a.end(),
                    b.end() - static_cast<ptrdiff_t>(count));
}

// The batch dimensions of a batch of matrices [b, m, n] before it was flattened: what its only user
// or its maker reshapes from them. Nothing when no reshape tells.
std::optional<SymDims> unflattened_batch(const ir::Value* value, const ir::Node* reshape) {
  if (reshape == nullptr || !reshape->is("reshape") || value->dims().size() != 3) return {};
  const SymDims& dims =
      reshape->input(0) == value ? reshape->output()->dims() : reshape->input(0)->dims();
  if (dims.size() <= 3 || !same_tail(dims, value->dims(), 2)) return {};
  return leading(dims, 2);
}

std::optional<SymDims> unflattened_batch(const ir::Node* matmul) {
  const ir::Value *x = matmul->input(0), *y = matmul->input(1), *z = matmul->output();
  if (x->dims().size() != 3 || y->dims().size() != 3 || !(x->dims()[0] == y->dims()[0])) return {};
  if (auto batch = unflattened_batch(z, only_user(z))) return batch;
  if (auto batch = unflattened_batch(x, x->producer())) return batch;
  return unflattened_batch(y, y->producer());
}

// An operand without an expand over batch dimensions, which matmul broadcasts itself.
ir::Value* without_expand(ir::Value* value) {
  const ir::Node* expand = producer(value, "expand");
  if (expand == nullptr) return value;
  ir::Value* source = expand->input(0);
  return source->dims().size() >= 2 && same_tail(source->dims(), value->dims(), 2) ? source : value;
}

// The operand with its batch as it was.
ir::Value* unflatten(Rewriter& rewrite, ir::Value* value, SymDims batch) {
  batch.insert(batch.end(), value->dims().end() - 2, value->dims().end());
  const ir::Node* reshape = producer(value, "reshape");
  return rewrite.reshape(reshape == nullptr ? value : reshape->input(0), batch);
}

bool simplify_matmul(ir::Graph& graph, ir::Node* node) {
  ir::Value *x = node->input(0), *y = node->input(1);
  Rewriter rewrite(graph, node);
  if (const auto batch = unflattened_batch(node)) {
    ir::Value* left = without_expand(unflatten(rewrite, x, *batch));
    ir::Value* right = without_expand(unflatten(rewrite, y, *batch));
    ir::Value* product = rewrite.emit("matmul", {left, right});
    if (leading(product->dims(), 2) == *batch) {
      rewrite.replace_root(rewrite.reshape(product, node->output()->dims()));
      return true;
    }
  }
  // The result must keep its batch, so only one side may lose its expand.
  ir::Value* narrow = without_expand(y);
  if (narrow != y && leading(x->dims(), 2) == leading(node->output()->dims(), 2)) {
    ir::Value* product = rewrite.emit("matmul", {x, narrow});
    if (product->dims() == node->output()->dims()) {
      rewrite.replace_root(product);
      return true;
    }
  }
  return false;
}

// A weight [k, n] on the right makes the product a linear layer.
bool make_linear(ir::Graph& graph, ir::Node* node) {
  ir::Value *x = node->input(0), *y = node->input(1);
  if (y->dims().size() != 2 || x->dims().empty() || !is_weight(y)) return false;
  Rewriter rewrite(graph, node);
  rewrite.replace_root(rewrite.emit("linear", {x, rewrite.transpose(y), nullptr}));
  return true;
}

// linear(x) + b, where b is a vector of weights.
bool add_bias(ir::Graph& graph, ir::Node* node) {
  for (size_t i = 0; i < 2; ++i) {
    const ir::Node* linear = producer(node->input(i), "linear");
    ir::Value* bias = node->input(1 - i);
    if (linear == nullptr || bias == nullptr || linear->input(2) != nullptr) continue;
    if (only_user(linear->output()) == nullptr || !is_weight(bias)) continue;
    if (bias->dims() != SymDims{linear->output()->dims().back()}) continue;
    if (bias->dtype() != linear->output()->dtype()) continue;
    Rewriter rewrite(graph, node);
    rewrite.replace_root(rewrite.emit("linear", {linear->input(0), linear->input(1), bias}));
    return true;
  }
  return false;
}

// linear(reshape(x)) where the reshape merges rows only, and those that `x` or the reader of the
// result has are wanted: the reshape goes behind, where it meets its inverse.
bool lift_reshape(ir::Graph& graph, ir::Node* node) {
  const ir::Value* rows = node->input(0);
  const ir::Node* reshape = producer(rows, "reshape");
  if (reshape == nullptr || rows->dims().size() != 2) return false;
  ir::Value* x = reshape->input(0);
  const ir::Value* out = node->output();
  Rewriter rewrite(graph, node);
  if (x->dims().size() < 2 || !same_tail(x->dims(), rows->dims(), 1)) {
    const ir::Node* reader = only_user(out);
    if (reader == nullptr || !reader->is("reshape")) return false;
    SymDims dims = reader->output()->dims();
    if (dims.size() < 3 || !same_tail(dims, out->dims(), 1)) return false;
    dims.back() = rows->dims().back();
    x = rewrite.reshape(x, dims);
  }
  ir::Value* y = rewrite.emit("linear", {x, node->input(1), node->input(2)});
  rewrite.replace_root(rewrite.reshape(y, out->dims()));
  return true;
}

}  // namespace

void fuse_linear(ir::Graph& graph) {
  for_each_used(graph, [&](ir::Node* node) {
    if (node->is("matmul")) simplify_matmul(graph, node);
  });
  for_each_used(graph, [&](ir::Node* node) {
    if (node->is("matmul")) make_linear(graph, node);
  });
  for_each_used(graph, [&](ir::Node* node) {
    if (node->is("linear")) lift_reshape(graph, node);
    if (node->is("reshape")) simplify(graph, node);
    if (node->is("add")) add_bias(graph, node);
  });
}

}  // namespace regraft::lowering::passes
