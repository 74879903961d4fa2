#include <limits>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

// Statistics of the batch itself: weight standardisation is written this way.
void normalise_by_batch(Call& call) {
  ir::Value* x = call.tensor("input");
  const size_t rank = x->dims().size();
  if (rank < 2) call.unsupported("of rank ", rank);
  SymDims axes{0}, channels(rank, 1);
  for (size_t i = 2; i < rank; ++i)
    axes.push_back(static_cast<int64_t>(i));
  channels[1] = x->dims()[1];
  ir::Value* mean = call.emit("mean", {x}, {{"dims", axes}, {"keepdim", true}});
  ir::Value* variance =
      call.emit("var", {x}, {{"dims", axes}, {"keepdim", true}, {"correction", SymInt(0)}});
  ir::Value* scale = call.emit("rsqrt", {call.emit_scalar("add", variance, call.number("eps"))});
  ir::Value* y = call.emit("mul", {call.emit("sub", {x, mean}), scale});
  if (ir::Value* weight = call.optional_tensor("weight")) {
    y = call.emit("mul", {y, call.reshape(weight, channels)});
  }
  if (ir::Value* bias = call.optional_tensor("bias")) {
    y = call.emit("add", {y, call.reshape(bias, channels)});
  }
  call.result(y);
}

void batch_norm(Call& call) {
  if (call.flag("training")) {
    // Without running statistics nothing is updated, so this is a function of its input.
    if (call.is_none("running_mean")) return normalise_by_batch(call);
    call.unsupported("batch norm in training mode: call model.eval() before the export");
  }
  call.result(
      call.emit("batch_norm",
                {call.tensor("input"), call.optional_tensor("weight"), call.optional_tensor("bias"),
                 call.tensor("running_mean"), call.tensor("running_var")},
                {{"eps", call.number("eps")}}));
}

void layer_norm(Call& call) {
  call.result(call.emit(
      "layer_norm",
      {call.tensor("input"), call.optional_tensor("weight"), call.optional_tensor("bias")},
      {{"dims", call.sizes("normalized_shape")}, {"eps", call.number("eps")}}));
}

void rms_norm(Call& call) {
  Attributes attributes{{"dims", call.sizes("normalized_shape")}};
  if (!call.is_none("eps")) attributes.set("eps", call.number("eps"));
  call.result(
      call.emit("rms_norm", {call.tensor("input"), call.optional_tensor("weight")}, attributes));
}

ir::Value* group_normalised(Call& call, const SymInt& groups) {
  return call.emit(
      "group_norm",
      {call.tensor("input"), call.optional_tensor("weight"), call.optional_tensor("bias")},
      {{"groups", groups}, {"eps", call.number("eps")}});
}

void group_norm(Call& call) { call.result(group_normalised(call, call.size("num_groups"))); }
void native_group_norm(Call& call) { call.result(group_normalised(call, call.size("group"))); }

// Each channel is a group of its own.
void instance_norm(Call& call) {
  if (!call.flag("use_input_stats")) {
    return call.result(call.emit(
        "batch_norm",
        {call.tensor("input"), call.optional_tensor("weight"), call.optional_tensor("bias"),
         call.tensor("running_mean"), call.tensor("running_var")},
        {{"eps", call.number("eps")}}));
  }
  if (!call.is_none("running_mean")) call.unsupported("running statistics that it updates");
  const SymDims& dims = call.tensor("input")->dims();
  if (dims.size() < 2) call.unsupported("of rank ", dims.size());
  call.result(group_normalised(call, dims[1]));
}

// weight = v * g / norm of v over all dimensions but one.
void weight_norm(Call& call) {
  ir::Value *v = call.tensor("v"), *g = call.tensor("g");
  const int64_t axis = call.axis("dim", v->dims().size());
  SymDims axes;
  for (size_t i = 0; i < v->dims().size(); ++i) {
    if (static_cast<int64_t>(i) != axis) axes.push_back(static_cast<int64_t>(i));
  }
  ir::Value* length = call.emit("norm", {v}, {{"dims", axes}, {"keepdim", true}});
  call.result(call.emit("mul", {v, call.emit("div", {g, length})}));
}

// Rows without any finite score give zeros.
void safe_softmax(Call& call) {
  ir::Value* x = call.tensor("self");
  const SymInt axis = call.axis("dim", x->dims().size());
  Attributes attributes{{"dim", axis}};
  if (const auto dtype = call.dtype("dtype")) attributes.set("dtype", *dtype);
  ir::Value* masked = call.emit_scalar("eq", x, -std::numeric_limits<double>::infinity());
  ir::Value* all = call.emit("all", {masked}, {{"dims", SymDims{axis}}, {"keepdim", true}});
  ir::Value* weights = call.emit("softmax", {x}, attributes);
  call.result(call.emit("where", {all, nullptr, weights}, {{"x_scalar", 0.0}}));
}

constexpr AtenOp kOps[] = {
    {"batch_norm(input, weight, bias, running_mean, running_var, training, momentum=0.1, "
     "eps=0.00001, cudnn_enabled=True)",
     batch_norm},
    {"native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)",
     batch_norm},
    {"_native_batch_norm_legit(input, weight, bias, running_mean, running_var, training, momentum, "
     "eps)",
     batch_norm},
    {"_native_batch_norm_legit_no_training(input, weight, bias, running_mean, running_var, "
     "momentum, eps, training=False)",
     batch_norm},
    {"_native_batch_norm_legit.no_stats(input, weight, bias, training, momentum, eps)",
     normalise_by_batch},
    {"layer_norm(input, normalized_shape, weight=None, bias=None, eps=0.00001, cudnn_enable=True)",
     layer_norm},
    {"native_layer_norm(input, normalized_shape, weight, bias, eps)", layer_norm},
    {"rms_norm(input, normalized_shape, weight=None, eps=None)", rms_norm},
    {"_fused_rms_norm(input, normalized_shape, weight, eps)", rms_norm},
    {"group_norm(input, num_groups, weight=None, bias=None, eps=0.00001, cudnn_enabled=True)",
     group_norm},
    {"native_group_norm(input, weight, bias, N, C, HxW, group, eps)", native_group_norm},
    {"instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, "
     "eps, cudnn_enabled)",
     instance_norm},
    {"_weight_norm(v, g, dim=0)", weight_norm},
    {"_weight_norm_interface(v, g, dim=0)", weight_norm},
    {"softmax.int(self, dim, dtype=None)", "softmax(self) {dim=axis(dim), dtype=dtype}"},
    {"_softmax(self, dim, half_to_float)", "softmax(self) {dim=axis(dim)}"},
    {"log_softmax.int(self, dim, dtype=None)", "log_softmax(self) {dim=axis(dim), dtype=dtype}"},
    {"_log_softmax(self, dim, half_to_float)", "log_softmax(self) {dim=axis(dim)}"},
    {"_safe_softmax(self, dim, dtype=None)", safe_softmax},
};

}  // namespace

extern const AtenTable k_norm;
const AtenTable k_norm = kOps;

}  // namespace regraft::lowering::aten
