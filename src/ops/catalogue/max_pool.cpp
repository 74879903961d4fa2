#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

// Second result: i64 row-major positions of the maxima in their plane of x.
void max_pool(TypeContext& context) {
  const TensorType& x = context.in(0);
  check_not_bool(context, x.dtype);
  check_not_complex(context, x.dtype);
  const size_t spatial = context.attributes().sizes("kernel").size();
  const size_t begin = spatial_begin(context, x, spatial, true);
  const SymDims& dilation = spatial_list(context, "dilation", spatial, 1);
  const SymDims dims = pooled_dims(context, x.dims, begin, dilation);
  context.out(x.dtype, dims);
  context.out(DType::I64, dims);
}

constexpr OpDef kOps[] = {
    {"max_pool",
     "(Tensor x, *, int[] kernel, int[] stride, int[] padding, int[] dilation, "
     "bool ceil_mode=false) -> (Tensor, Tensor)",
     max_pool},
};

}  // namespace

extern const OpFamily k_family_max_pool = kOps;

}  // namespace regraft::ops
