#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void embedding(TypeContext& context) {
  const TensorType& weight = context.in(0);
  const TensorType& indices = context.in(1);
  if (weight.rank() != 2) context.fail("weight: want rank 2, have ", weight.str());
  check_index_dtype(context, "indices", indices.dtype);
  SymDims dims = indices.dims;
  dims.push_back(weight.dims[1]);
  context.out(weight.dtype, dims);
}

const OpDef kOps[] = {
    {"embedding", "(Tensor weight, Tensor indices) -> Tensor", embedding, kMoves},
};

}  // namespace

extern const OpFamily k_family_embedding;
const OpFamily k_family_embedding = kOps;

}  // namespace regraft::ops
