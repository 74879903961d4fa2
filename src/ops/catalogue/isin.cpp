#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void isin(TypeContext& context) {
  check_not_complex(context, context.in(0).dtype);
  check_not_complex(context, context.in(1).dtype);
  context.out(DType::Bool, context.in(0).dims);
}

void bucketize(TypeContext& context) {
  const TensorType& boundaries = context.in(1);
  if (boundaries.rank() != 1) context.fail("boundaries: want rank 1, have ", boundaries.str());
  check_not_complex(context, context.in(0).dtype);
  check_not_complex(context, boundaries.dtype);
  context.out(context.attributes().flag("out_int32") ? DType::I32 : DType::I64, context.in(0).dims);
}

const OpDef kOps[] = {
    {"isin", "(Tensor elements, Tensor test_elements, *, bool invert=false) -> Tensor", isin},
    {"bucketize",
     "(Tensor x, Tensor boundaries, *, bool right=false, bool out_int32=false) -> Tensor",
     bucketize},
};

}  // namespace

extern const OpFamily k_family_isin;
const OpFamily k_family_isin = kOps;

}  // namespace regraft::ops
