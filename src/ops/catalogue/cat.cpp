#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

// As in PyTorch, a tensor of dims [0] joins any others and adds nothing.
void cat(TypeContext& context) {
  if (context.input_count() == 0) context.fail("want at least one tensor");
  std::vector<PromotionOperand> operands;
  const TensorType* first = nullptr;
  for (size_t i = 0; i < context.input_count(); ++i) {
    const TensorType& x = context.in(i);
    if (x.dims.empty()) context.fail("cannot join 0-d tensors");
    operands.push_back({x.dtype, PromotionRank::Dimensioned});
    if (first == nullptr && x.dims != SymDims{0}) first = &x;
  }
  SymDims dims = first != nullptr ? first->dims : SymDims{0};
  const size_t axis = context.dim(context.attributes().integer("dim"), dims.size());
  dims[axis] = 0;
  for (size_t i = 0; i < context.input_count(); ++i) {
    const TensorType& x = context.in(i);
    if (x.dims == SymDims{0}) continue;
    SymDims want = dims;
    if (axis < x.rank()) want[axis] = x.dims[axis];
    check_same_dims(context, "tensors but for the joined dim", want, x.dims);
    dims[axis] = dims[axis] + x.dims[axis];
  }
  context.out(regraft::promote(operands), dims);
}

const OpDef kOps[] = {
    {"cat", "(Tensor[] tensors, *, int dim=0) -> Tensor", cat, kMoves},
};

}  // namespace

extern const OpFamily k_family_cat;
const OpFamily k_family_cat = kOps;

}  // namespace regraft::ops
