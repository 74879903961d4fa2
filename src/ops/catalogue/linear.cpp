#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

void linear(TypeContext& context) {
  const TensorType& x = context.in(0);
  const TensorType& weight = context.in(1);
  check_not_bool(context, x.dtype);
  check_same_dtype(context, 1, "weight");
  check_same_dtype(context, 2, "bias");
  if (x.rank() < 1) context.fail("x: want at least one dimension, have ", x.str());
  if (weight.rank() != 2) context.fail("weight: want rank 2, have ", weight.str());
  same_size(context, weight.dims[1], x.dims.back(), "features of x");
  if (context.has(2)) {
    const SymDims& bias = context.in(2).dims;
    if (bias.size() != 1 || !can_equal(bias[0], weight.dims[0])) {
      context.fail("bias: want [", weight.dims[0].str(), "], have ", to_string(bias));
    }
  }
  SymDims dims = x.dims;
  dims.back() = weight.dims[0];
  context.out(x.dtype, std::move(dims));
}

constexpr OpDef kOps[] = {
    {"linear", "(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor", linear},
};

}  // namespace

extern const OpFamily k_family_linear = kOps;

}  // namespace regraft::ops
