#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

void group_norm(TypeContext& context) {
  const TensorType& x = context.in(0);
  check_floating(context, x.dtype);
  if (x.rank() < 2) context.fail("x: want at least two dimensions, have ", x.str());
  const int64_t groups = context.attributes().integer("groups");
  if (groups < 1 || !can_equal(mod(x.dims[1], groups), 0)) {
    context.fail("groups: ", groups, " groups do not divide ", x.dims[1].str(), " channels");
  }
  check_channel_vector(context, 1, x.dims[1], "weight");
  check_channel_vector(context, 2, x.dims[1], "bias");
  context.out(x);
}

constexpr OpDef kOps[] = {
    {"group_norm", "(Tensor x, Tensor? weight, Tensor? bias, *, int groups, float eps) -> Tensor",
     group_norm},
};

}  // namespace

extern const OpFamily k_family_group_norm = kOps;

}  // namespace regraft::ops
