#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void softmax(TypeContext& context) {
  const TensorType& x = context.in(0);
  const DType dtype = optional_dtype(context).value_or(x.dtype);
  check_floating(context, dtype);
  context.dim(context.attributes().integer("dim"), x.rank());
  context.out(dtype, x.dims);
}

// `dtype`: what x is converted to before anything is computed.
constexpr OpDef kOps[] = {
    {"softmax", "(Tensor x, *, int dim, dtype? dtype=None) -> Tensor", softmax},
    {"log_softmax", "(Tensor x, *, int dim, dtype? dtype=None) -> Tensor", softmax},
};

}  // namespace

extern const OpFamily k_family_softmax = kOps;

}  // namespace regraft::ops
