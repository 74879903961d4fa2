#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

void avg_pool(TypeContext& context) {
  const TensorType& x = context.in(0);
  const Attributes& attributes = context.attributes();
  if (x.dtype != DType::I64) check_floating(context, x.dtype);
  const size_t spatial = attributes.sizes("kernel").size();
  const size_t begin = spatial_begin(context, x, spatial, true);
  if (!attributes.is_none("divisor") && attributes.size("divisor") == SymInt(0)) {
    context.fail("divisor: must not be 0");
  }
  context.out(x.dtype, pooled_dims(context, x.dims, begin, SymDims(spatial, 1)));
}

// `divisor`: what sums are divided by, instead of the number of elements of the window.
constexpr OpDef kOps[] = {
    {"avg_pool",
     "(Tensor x, *, int[] kernel, int[] stride, int[] padding, bool ceil_mode=false, "
     "bool count_include_pad=true, int? divisor=None) -> Tensor",
     avg_pool},
};

}  // namespace

extern const OpFamily k_family_avg_pool = kOps;

}  // namespace regraft::ops
