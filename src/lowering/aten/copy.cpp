#include "lowering/aten/aten.h"

// Ops that give their argument's values again: the same memory, a copy of it, or another dtype.
namespace regraft::lowering::aten {
namespace {

void same(Call& call) {
  call.tensor("self");
  call.result(call.ref("self"));
}

// New memory with the same values: no node, as values do not alias.
void copy_of_self(Call& call) { call.result(call.tensor("self")); }

// The tensor itself unless its layout in memory changes.
void contiguous(Call& call) {
  ir::Value* x = call.tensor("self");
  Ref& self = call.ref("self");
  const program::TensorMeta* out = call.result_meta(0);
  const bool is_known = self.meta != nullptr && out != nullptr;
  if (is_known && self.meta->strides != out->strides) return call.result(x);
  call.result(self);
}

void to_dtype(Call& call, std::optional<DType> dtype, bool copies) {
  ir::Value* x = call.tensor("self");
  if (dtype && *dtype != x->dtype()) return call.result(call.cast(x, *dtype));
  if (copies) return call.result(x);
  contiguous(call);
}

void to(Call& call) { to_dtype(call, call.dtype("dtype"), call.flag("copy")); }
void to_copy(Call& call) { to_dtype(call, call.dtype("dtype"), true); }
void to_other(Call& call) { to_dtype(call, call.tensor("other")->dtype(), call.flag("copy")); }
void type_as(Call& call) { to_dtype(call, call.tensor("other")->dtype(), false); }

ir::Value* fitted(Call& call, ir::Value* value, const TensorType& type) {
  value = call.cast(value, type.dtype);
  return value->dims() == type.dims ? value : call.emit("expand", {value}, {{"dims", type.dims}});
}

void copy(Call& call) {
  const TensorType type = call.tensor("self")->type();
  call.result(fitted(call, call.tensor("src"), type));
}

void fill(Call& call) {
  const TensorType type = call.tensor("self")->type();
  if (call.is_tensor("value")) return call.result(fitted(call, call.tensor("value"), type));
  call.result(call.emit(
      "full", {}, {{"dims", type.dims}, {"value", call.scalar("value")}, {"dtype", type.dtype}}));
}

void zero(Call& call) {
  const TensorType type = call.tensor("self")->type();
  call.result(
      call.emit("full", {}, {{"dims", type.dims}, {"value", SymInt(0)}, {"dtype", type.dtype}}));
}

// Dropout in evaluation gives its argument back.
void dropout_of(Call& call, const char* input) {
  if (call.flag("train") && call.number("p") != 0) {
    call.unsupported("dropout in training mode: call model.eval() before the export");
  }
  call.tensor(input);
  call.result(call.ref(input));
}
void dropout(Call& call) { dropout_of(call, "input"); }
// The in-place ones call their tensor `self`.
void dropout_in_place(Call& call) { dropout_of(call, "self"); }

constexpr AtenOp kOps[] = {
    {"alias(self)", same},
    {"detach(self)", same},
    {"lift(self)", same},
    {"lift_fresh(self)", same},
    {"positive(self)", same},
    {"conj(self)", same},
    {"resolve_conj(self)", same},
    {"resolve_neg(self)", same},
    {"requires_grad_(self, requires_grad=True)", same},
    {"alias_copy(self)", copy_of_self},
    {"detach_copy(self)", copy_of_self},
    {"clone(self)", copy_of_self},
    {"lift_fresh_copy(self)", copy_of_self},
    {"contiguous(self)", contiguous},
    {"to.dtype,dtype_layout,device,prim_dtype(self, dtype=None, copy=False)", to},
    {"to.other(self, other, copy=False)", to_other},
    {"_to_copy(self, dtype=None)", to_copy},
    {"type_as(self, other)", type_as},
    {"copy(self, src)", copy},
    {"fill.Scalar,Tensor(self, value)", fill},
    {"zero(self)", zero},
    {"dropout(input, p, train)", dropout},
    {"native_dropout(input, p, train)", dropout},
    {"alpha_dropout(input, p, train)", dropout},
    {"feature_dropout(input, p, train)", dropout},
    {"feature_alpha_dropout(input, p, train)", dropout},
    {"dropout_(self, p, train)", dropout_in_place},
    {"alpha_dropout_(self, p, train)", dropout_in_place},
    {"feature_dropout_(self, p, train)", dropout_in_place},
    {"feature_alpha_dropout_(self, p, train)", dropout_in_place},
};

}  // namespace

extern const AtenTable k_copy;
const AtenTable k_copy = kOps;

}  // namespace regraft::lowering::aten
