#include "compilation/fold_batch_norm.h"

#include "compilation/rewrite.h"

namespace regraft::compilation {
namespace {

DType folding_dtype(DType dtype) { return dtype == DType::F64 ? DType::F64 : DType::F32; }

// The normalisation as a factor and a summand per channel.
struct Affine {
  ir::Value* scale;
  ir::Value* shift;
};

Affine affine_of(const ir::Node& norm, Rewriter& at, DType dtype) {
  ir::Value* weight = norm.input("weight");
  ir::Value* bias = norm.input("bias");
  ir::Value* variance = at.cast(norm.input("variance"), dtype);
  ir::Value* scale = at.call("rsqrt", {at.add(variance, norm.attributes().number("eps"))});
  if (weight != nullptr) scale = at.mul(at.cast(weight, dtype), scale);
  ir::Value* moved = at.mul(at.cast(norm.input("mean"), dtype), scale);
  ir::Value* shift =
      bias != nullptr ? at.sub(at.cast(bias, dtype), moved) : at.call("neg", {moved});
  return {scale, shift};
}

// `weight` with every row that makes channel c multiplied by scale[c].
ir::Value* scaled_convolution_weight(const ir::Node& convolution, ir::Value* weight,
                                     ir::Value* scale, Rewriter& at) {
  const SymDims dims = weight->dims();
  SymDims by(dims.size(), 1);
  if (!convolution.attributes().flag("transposed")) {
    by[0] = -1;
    return at.mul(weight, at.reshape(scale, by));
  }
  // [in, out/groups, kernel...]: group g of the input channels makes group g of the outputs.
  const int64_t groups = convolution.attributes().integer("groups");
  if (groups == 1) {
    by[1] = -1;
    return at.mul(weight, at.reshape(scale, by));
  }
  SymDims grouped = {groups, floordiv(dims[0], groups)};
  grouped.insert(grouped.end(), dims.begin() + 1, dims.end());
  by.insert(by.begin(), 1);
  by[0] = groups;
  by[2] = dims[1];
  ir::Value* const in_groups = at.reshape(weight, grouped);
  return at.reshape(at.mul(in_groups, at.reshape(scale, by)), dims);
}

bool try_fold_into_producer(ir::Graph& graph, ir::Node* norm, WeightValues& weights) {
  ir::Value* x = norm->input("x");
  ir::Node* producer = x->producer();
  if (producer == nullptr || !has_one_use(*x)) return false;
  // A linear's features are the channels only where they are the second dimension.
  const bool folds =
      producer->is("convolution") || (producer->is("linear") && x->dims().size() == 2);
  if (!folds || !weights.contains(producer->input("weight")) ||
      !weights.contains(producer->input("bias"))) {
    return false;
  }
  Rewriter at(graph, norm, producer->origin());
  const DType dtype = folding_dtype(x->dtype());
  const Affine affine = affine_of(*norm, at, dtype);
  ir::Value* weight = at.cast(producer->input("weight"), dtype);
  if (producer->is("linear")) {
    weight = at.mul(weight, at.reshape(affine.scale, {-1, 1}));
  } else {
    weight = scaled_convolution_weight(*producer, weight, affine.scale, at);
  }
  ir::Value* bias = affine.shift;
  if (ir::Value* old = producer->input("bias")) {
    bias = at.add(at.mul(at.cast(old, dtype), affine.scale), affine.shift);
  }
  graph.set_input(producer, 1, at.cast(weight, x->dtype()));
  graph.set_input(producer, 2, at.cast(bias, x->dtype()));
  weights.insert(producer->input("weight"));
  weights.insert(producer->input("bias"));
  graph.move_before(producer, norm);
  replace(norm, x);
  graph.rename(producer->input("weight"), producer->name() + "_weight");
  graph.rename(producer->input("bias"), producer->name() + "_bias");
  return true;
}

void make_pointwise(ir::Graph& graph, ir::Node* norm) {
  ir::Value* x = norm->input("x");
  Rewriter at(graph, norm, norm->origin());
  const Affine affine = affine_of(*norm, at, folding_dtype(x->dtype()));
  SymDims dims(x->dims().size() - 1, 1);
  dims[0] = -1;
  const auto vector = [&](ir::Value* value) {
    return at.reshape(at.cast(value, x->dtype()), dims);
  };
  ir::Value* const scaled = at.mul(x, vector(affine.scale));
  replace(norm, at.add(scaled, vector(affine.shift)));
}

}  // namespace

void fold_batch_norm(ir::Graph& graph, const Settings&) {
  WeightValues weights(graph);
  for (ir::Node* node : graph.node_list()) {
    if (!node->is("batch_norm") || weights.contains(node->output())) continue;
    bool is_weight_only = true;
    for (size_t i = 1; i < node->inputs().size(); ++i) {
      is_weight_only = is_weight_only && weights.contains(node->input(i));
    }
    if (!is_weight_only) continue;
    if (!try_fold_into_producer(graph, node, weights)) make_pointwise(graph, node);
  }
}

}  // namespace regraft::compilation
