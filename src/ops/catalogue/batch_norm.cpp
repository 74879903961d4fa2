#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

void batch_norm(TypeContext& context) {
  const TensorType& x = context.in(0);
  check_floating(context, x.dtype);
  if (x.rank() < 2) context.fail("x: want at least two dimensions, have ", x.str());
  check_channel_vector(context, 1, x.dims[1], "weight");
  check_channel_vector(context, 2, x.dims[1], "bias");
  check_channel_vector(context, 3, x.dims[1], "mean");
  check_channel_vector(context, 4, x.dims[1], "variance");
  context.out(x);
}

constexpr OpDef kOps[] = {
    {"batch_norm",
     "(Tensor x, Tensor? weight, Tensor? bias, Tensor mean, Tensor variance, *, float eps) "
     "-> Tensor",
     batch_norm},
};

}  // namespace

extern const OpFamily k_family_batch_norm = kOps;

}  // namespace regraft::ops
