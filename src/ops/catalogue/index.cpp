#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

// Dims of x[indices], whose index tensors are the inputs from `first` on. The broadcast dims of the
// index tensors replace the indexed dims where those stand together and lead otherwise, as in
// NumPy.
SymDims indexed_dims(const TypeContext& context, size_t first) {
  const SymDims& x = context.in(0).dims;
  const size_t count = context.input_count() - first;
  if (count > x.size()) context.fail(count, " indices for a tensor of rank ", x.size());
  SymDims broadcast_dims, before, after;
  size_t used = 0, runs = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!context.has(first + i)) {
      (used > 0 ? after : before).push_back(x[i]);
      continue;
    }
    const TensorType& index = context.in(first + i);
    check_index_dtype(context, "indices", index.dtype);
    broadcast_dims = broadcast(context, broadcast_dims, index.dims);
    if (i == 0 || !context.has(first + i - 1)) ++runs;
    ++used;
  }
  if (used == 0) context.fail("want at least one index");
  SymDims dims;
  if (runs == 1) dims.swap(before);
  dims.insert(dims.end(), broadcast_dims.begin(), broadcast_dims.end());
  dims.insert(dims.end(), before.begin(), before.end());
  dims.insert(dims.end(), after.begin(), after.end());
  return dims;
}

void index(TypeContext& context) { context.out(context.in(0).dtype, indexed_dims(context, 1)); }

void index_put(TypeContext& context) {
  const SymDims dims = indexed_dims(context, 2);
  const TensorType& values = context.in(1);
  if (values.dtype != context.in(0).dtype) {
    context.fail("values: want ", name(context.in(0).dtype), ", have ", name(values.dtype));
  }
  if (values.rank() > dims.size()) {
    context.fail("values: cannot broadcast ", to_string(values.dims), " to ", to_string(dims));
  }
  check_same_dims(context, "values", dims, broadcast(context, values.dims, dims));
  if (context.attributes().flag("accumulate")) check_computed(context, values.dtype);
  context.out(context.in(0));
}

const OpDef kOps[] = {
    {"index", "(Tensor x, Tensor?[] indices) -> Tensor", index, kMoves},
    {"index_put",
     "(Tensor x, Tensor values, Tensor?[] indices, *, bool accumulate=false) -> Tensor", index_put,
     kMoves},
};

}  // namespace

extern const OpFamily k_family_index;
const OpFamily k_family_index = kOps;

}  // namespace regraft::ops
