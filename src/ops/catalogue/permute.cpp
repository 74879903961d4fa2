#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void permute(TypeContext& context) {
  const TensorType& x = context.in(0);
  const Dims order = context.attributes().integers("dims");
  if (order.size() != x.rank()) {
    context.fail("want ", x.rank(), " dims, have ", to_string(order));
  }
  SymDims dims;
  for (const size_t dim : dims_of(context, order, x.rank()))
    dims.push_back(x.dims[dim]);
  context.out(x.dtype, dims);
}

void flip(TypeContext& context) {
  const TensorType& x = context.in(0);
  dims_of(context, context.attributes().integers("dims"), x.rank());
  context.out(x);
}

const OpDef kOps[] = {
    {"permute", "(Tensor x, *, int[] dims) -> Tensor", permute, kView},
    {"flip", "(Tensor x, *, int[] dims) -> Tensor", flip, kView},
};

}  // namespace

extern const OpFamily k_family_permute;
const OpFamily k_family_permute = kOps;

}  // namespace regraft::ops
