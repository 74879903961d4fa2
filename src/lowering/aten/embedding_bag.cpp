#include <utility>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {
namespace {

enum Mode { kSum = 0, kMean = 1, kMax = 2 };  // PyTorch's numbers.

ir::Value* zeros(Call& call, SymDims dims, DType dtype) {
  return call.emit("full", {}, {{"dims", std::move(dims)}, {"value", SymInt(0)}, {"dtype", dtype}});
}

// Which bag each index is of: the last one that begins before or at it.
ir::Value* bag_of_each(Call& call, const SymInt& count) {
  ir::Value* position = call.emit("arange", {}, {{"end", count}, {"dtype", DType::I64}});
  ir::Value* begins = call.cast(call.tensor("offsets"), DType::I64);
  ir::Value* begun = call.emit("bucketize", {position, begins}, {{"right", true}});
  return call.emit_scalar("sub", begun, SymInt(1));
}

// Which indices count: all but those of padding. Null where there is none.
ir::Value* kept(Call& call, bool counts_from_end) {
  if (call.is_none("padding_idx")) return nullptr;
  SymInt padding = call.size("padding_idx");
  if (!padding.is_constant()) call.unsupported("a dynamic padding_idx");
  if (padding.value() < 0) {
    if (!counts_from_end) return nullptr;
    padding = padding + call.tensor("weight")->dims()[0];
  }
  return call.emit_scalar("ne", call.tensor("indices"), padding);
}

// Rows of the weight, added up (their mean, their maximum) by bag; an empty bag is zeros. The other
// results of PyTorch are for its gradients.
void embedding_bag(Call& call, bool counts_from_end) {
  ir::Value *weight = call.tensor("weight"), *indices = call.tensor("indices");
  if (indices->dims().size() != 1) call.unsupported("indices of rank ", indices->dims().size());
  const int64_t mode = call.integer("mode");
  const SymInt count = indices->dims()[0], width = weight->dims()[1];
  SymInt bags = call.tensor("offsets")->dims()[0];
  if (call.flag("include_last_offset")) bags = bags - 1;

  // What belongs to no bag goes to one more, which is dropped.
  ir::Value *bag = bag_of_each(call, count), *keep = kept(call, counts_from_end);
  if (keep != nullptr) {
    ir::Value* none =
        call.emit("full", {}, {{"dims", SymDims{}}, {"value", bags}, {"dtype", DType::I64}});
    bag = call.emit("where", {keep, bag, none});
  }
  ir::Value* rows = call.emit("embedding", {weight, indices});
  // PyTorch adds in float.
  const DType dtype = weight->dtype();
  rows = call.cast(rows, dtype == DType::F64 ? dtype : DType::F32);
  if (!call.is_none("per_sample_weights")) {
    ir::Value* factors = call.cast(call.tensor("per_sample_weights"), rows->dtype());
    rows = call.emit("mul", {rows, call.reshape(factors, {count, 1})});
  }

  ir::Value* empty = zeros(call, {bags + 1, width}, rows->dtype());
  ir::Value* out;
  if (mode == kMax) {
    ir::Value* at =
        call.emit("expand", {call.reshape(bag, {count, 1})}, {{"dims", SymDims{count, width}}});
    out = call.emit("scatter", {empty, at, rows},
                    {{"dim", SymInt(0)}, {"reduce", "amax"}, {"include_self", false}});
  } else {
    out = call.emit("index_put", {empty, rows, bag}, {{"accumulate", true}});
  }
  if (mode == kMean) {
    ir::Value* one = call.emit(
        "full", {}, {{"dims", SymDims{}}, {"value", SymInt(1)}, {"dtype", rows->dtype()}});
    ir::Value* sizes = call.emit("index_put", {zeros(call, {bags + 1, 1}, rows->dtype()), one, bag},
                                 {{"accumulate", true}});
    out = call.emit("div", {out, call.emit("clamp", {sizes, nullptr, nullptr}, {{"min", 1.0}})});
  }
  out = call.emit("slice", {out}, {{"dim", SymInt(0)}, {"start", SymInt(0)}, {"end", bags}});
  call.result(call.cast(out, dtype));
}

void with_default(Call& call) { embedding_bag(call, false); }
void with_padding(Call& call) { embedding_bag(call, true); }

constexpr AtenOp kOps[] = {
    {"embedding_bag(weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False, "
     "per_sample_weights=None, include_last_offset=False, padding_idx=None)",
     with_default},
    {"embedding_bag.padding_idx(weight, indices, offsets, scale_grad_by_freq, mode, sparse, "
     "per_sample_weights, include_last_offset, padding_idx)",
     with_padding},
    {"_embedding_bag(weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False, "
     "per_sample_weights=None, include_last_offset=False, padding_idx=-1)",
     with_default},
    {"_embedding_bag_forward_only(weight, indices, offsets, scale_grad_by_freq=False, mode=0, "
     "sparse=False, per_sample_weights=None, include_last_offset=False, padding_idx=-1)",
     with_default},
};

}  // namespace

extern const AtenTable k_embedding_bag;
const AtenTable k_embedding_bag = kOps;

}  // namespace regraft::lowering::aten
