#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

SymDims adaptive_dims(const TypeContext& context) {
  const TensorType& x = context.in(0);
  check_floating(context, x.dtype);
  const size_t spatial = context.attributes().sizes("dims").size();
  const size_t begin = spatial_begin(context, x, spatial, true);
  const SymDims& sizes = spatial_list(context, "dims", spatial, 0);
  SymDims dims(x.dims.begin(), x.dims.begin() + static_cast<ptrdiff_t>(begin));
  for (size_t i = 0; i < spatial; ++i) {
    if (is_below(x.dims[begin + i], 1)) context.fail("x: want non-empty planes, have ", x.str());
    dims.push_back(sizes[i]);
  }
  return dims;
}

void adaptive_avg_pool(TypeContext& context) {
  context.out(context.in(0).dtype, adaptive_dims(context));
}

void adaptive_max_pool(TypeContext& context) {
  adaptive_avg_pool(context);
  context.out(DType::I64, adaptive_dims(context));
}

// `dims`: spatial sizes of the result; window i of n over a size s is [i*s/n, ceil((i+1)*s/n)).
// adaptive_max_pool's second result is as max_pool's.
constexpr OpDef kOps[] = {
    {"adaptive_avg_pool", "(Tensor x, *, int[] dims) -> Tensor", adaptive_avg_pool},
    {"adaptive_max_pool", "(Tensor x, *, int[] dims) -> (Tensor, Tensor)", adaptive_max_pool},
};

}  // namespace

extern const OpFamily k_family_adaptive_pool = kOps;

}  // namespace regraft::ops
