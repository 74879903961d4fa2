#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

// The dtype asked for, else what the program states, else PyTorch's default.
DType result_dtype(Call& call, DType fallback) {
  if (const auto dtype = call.dtype("dtype")) return *dtype;
  const program::TensorMeta* meta = call.result_meta(0);
  return meta != nullptr && meta->dtype ? *meta->dtype : fallback;
}

void fill(Call& call, SymDims dims, Attribute value, DType dtype) {
  call.result(call.emit(
      "full", {}, {{"dims", std::move(dims)}, {"value", std::move(value)}, {"dtype", dtype}}));
}

void full(Call& call) {
  fill(call, call.sizes("size"), call.scalar("fill_value"), result_dtype(call, DType::F32));
}
void zeros(Call& call) {
  fill(call, call.sizes("size"), SymInt(0), result_dtype(call, DType::F32));
}
void ones(Call& call) { fill(call, call.sizes("size"), SymInt(1), result_dtype(call, DType::F32)); }
void scalar_tensor(Call& call) { fill(call, {}, call.scalar("s"), result_dtype(call, DType::F32)); }

DType dtype_like(Call& call) { return call.dtype("dtype").value_or(call.tensor("self")->dtype()); }
void new_full(Call& call) {
  fill(call, call.sizes("size"), call.scalar("fill_value"), dtype_like(call));
}
void new_zeros(Call& call) { fill(call, call.sizes("size"), SymInt(0), dtype_like(call)); }
void new_ones(Call& call) { fill(call, call.sizes("size"), SymInt(1), dtype_like(call)); }
void full_like(Call& call) {
  const SymDims dims = call.tensor("self")->dims();
  if (!call.is_tensor("fill_value")) {
    return fill(call, dims, call.scalar("fill_value"), dtype_like(call));
  }
  call.result(call.emit("expand", {call.cast(call.tensor("fill_value"), dtype_like(call))},
                        {{"dims", dims}}));
}
void zeros_like(Call& call) {
  fill(call, call.tensor("self")->dims(), SymInt(0), dtype_like(call));
}
void ones_like(Call& call) { fill(call, call.tensor("self")->dims(), SymInt(1), dtype_like(call)); }

void arange(Call& call) {
  const Attribute start = call.scalar("start"), end = call.scalar("end"),
                  step = call.scalar("step");
  const bool is_integer = std::holds_alternative<SymInt>(start) &&
                          std::holds_alternative<SymInt>(end) &&
                          std::holds_alternative<SymInt>(step);
  call.result(call.emit("arange", {},
                        {{"start", start},
                         {"end", end},
                         {"step", step},
                         {"dtype", result_dtype(call, is_integer ? DType::I64 : DType::F32)}}));
}

void eye(Call& call) {
  const SymInt n = call.size("n");
  call.result(call.emit("eye", {},
                        {{"n", n},
                         {"m", call.is_none("m") ? n : call.size("m")},
                         {"dtype", result_dtype(call, DType::F32)}}));
}

// PyTorch steps from both ends to the middle, so that both ends are exact.
void linspace(Call& call) {
  const double start = call.number("start"), end = call.number("end");
  const int64_t steps = call.integer("steps");
  const DType dtype = result_dtype(call, DType::F32);
  if (steps < 1 || !is_floating(dtype)) call.unsupported("of ", steps, " steps or integers");
  if (steps == 1) return fill(call, {1}, start, dtype);
  const double step = (end - start) / static_cast<double>(steps - 1);
  ir::Value* index = call.emit("arange", {}, {{"end", SymInt(steps)}, {"dtype", dtype}});
  ir::Value* up = call.emit_scalar("add", call.emit_scalar("mul", index, step), start);
  ir::Value* rest = call.emit("sub", {nullptr, index}, {{"scalar", SymInt(steps - 1)}});
  ir::Value* down =
      call.emit("sub", {nullptr, call.emit_scalar("mul", rest, step)}, {{"scalar", end}});
  call.result(call.emit("where", {call.emit_scalar("lt", index, SymInt(steps / 2)), up, down}));
}

void meshgrid(Call& call) {
  const bool is_xy = call.text("indexing") == "xy";
  const std::vector<ir::Value*> axes = call.tensors("tensors");
  SymDims dims;
  for (const ir::Value* axis : axes)
    dims.push_back(numel(axis->dims()));
  if (is_xy && dims.size() > 1) std::swap(dims[0], dims[1]);
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t place = is_xy && i < 2 && axes.size() > 1 ? 1 - i : i;
    SymDims own(axes.size(), 1);
    own[place] = dims[place];
    call.result(call.emit("expand", {call.reshape(axes[i], own)}, {{"dims", dims}}));
  }
}

void one_hot(Call& call) {
  ir::Value* x = call.tensor("self");
  const SymInt classes = call.size("num_classes");
  if (classes == SymInt(-1)) call.unsupported("a number of classes taken from the values");
  SymDims dims = x->dims();
  dims.push_back(1);
  ir::Value* range = call.emit("arange", {}, {{"end", classes}, {"dtype", DType::I64}});
  call.result(call.cast(call.emit("eq", {call.reshape(x, dims), range}), DType::I64));
}

constexpr AtenOp kOps[] = {
    {"full(size, fill_value, dtype=None)", full},
    {"zeros(size, dtype=None)", zeros},
    {"ones(size, dtype=None)", ones},
    // What an uninitialised tensor holds cannot matter.
    {"empty.memory_format(size, dtype=None)", zeros},
    {"empty_strided(size, stride, dtype=None)", zeros},
    {"new_empty_strided(self, size, stride, dtype=None)", new_zeros},
    {"scalar_tensor(s, dtype=None)", scalar_tensor},
    {"new_full(self, size, fill_value, dtype=None)", new_full},
    {"new_zeros(self, size, dtype=None)", new_zeros},
    {"new_empty(self, size, dtype=None)", new_zeros},
    {"new_ones(self, size, dtype=None)", new_ones},
    {"full_like(self, fill_value, dtype=None)", full_like},
    {"zeros_like(self, dtype=None)", zeros_like},
    {"empty_like(self, dtype=None)", zeros_like},
    {"ones_like(self, dtype=None)", ones_like},
    {"arange.default,start,start_step(end, start=0, step=1, dtype=None)", arange},
    {"eye.default,m(n, m=None, dtype=None)", eye},
    {"linspace(start, end, steps, dtype=None)", linspace},
    {"meshgrid.default,indexing(tensors, indexing=\"ij\")", meshgrid},
    {"one_hot(self, num_classes=-1)", one_hot},
    {"tril(self, diagonal=0)", "tril(self) {diagonal=diagonal}"},
    {"triu(self, diagonal=0)", "triu(self) {diagonal=diagonal}"},
};

}  // namespace

extern const AtenTable k_creation;
const AtenTable k_creation = kOps;

}  // namespace regraft::lowering::aten
