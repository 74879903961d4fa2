#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void clamp(TypeContext& context) {
  const bool min = given(context, "min") != nullptr, max = given(context, "max") != nullptr;
  if (!context.has(1) && !context.has(2) && !min && !max) context.fail("want a bound");
  if ((context.has(1) && min) || (context.has(2) && max)) {
    context.fail("want a bound as a tensor or as a scalar, not both");
  }
  const TensorType type = pointwise_type(context, {"min", "max"});
  check_not_bool(context, type.dtype);
  check_not_complex(context, type.dtype);
  context.out(type);
}

const OpDef kOps[] = {
    {"clamp",
     "(Tensor x, Tensor? min_tensor=None, Tensor? max_tensor=None, *, Scalar? min=None,"
     " Scalar? max=None) -> Tensor",
     clamp, kPointwise},
};

}  // namespace

extern const OpFamily k_family_clamp;
const OpFamily k_family_clamp = kOps;

}  // namespace regraft::ops
