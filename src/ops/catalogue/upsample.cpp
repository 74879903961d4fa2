#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

void upsample(TypeContext& context, size_t spatial) {
  const TensorType& x = context.in(0);
  const Attributes& attributes = context.attributes();
  spatial_begin(context, x, spatial, false);
  const SymDims& sizes = spatial_list(context, "dims", spatial, 1);
  if (!attributes.is_none("scales") && attributes.numbers("scales").size() != spatial) {
    context.fail("scales: want one for each of ", spatial, " spatial dimensions, have ",
                 to_string(*attributes.find("scales")));
  }
  SymDims dims = {x.dims[0], x.dims[1]};
  for (size_t i = 0; i < spatial; ++i) {
    if (is_below(x.dims[i + 2], 1)) context.fail("x: want non-empty planes, have ", x.str());
    dims.push_back(sizes[i]);
  }
  context.out(x.dtype, std::move(dims));
}

void nearest(TypeContext& context) { upsample(context, context.attributes().sizes("dims").size()); }

void linear(TypeContext& context) {
  check_floating(context, context.in(0).dtype);
  nearest(context);
}

void cubic(TypeContext& context) {
  check_floating(context, context.in(0).dtype);
  upsample(context, 2);
}

// `dims`: spatial sizes of the result. `scales`: the factors PyTorch was given, which then decide
// the sampling positions; None, or an entry of 0: derived from the sizes. `exact`: nearest to the
// centre of the pixel ("nearest-exact"). upsample_bilinear is linear in 1 to 3 dimensions.
constexpr OpDef kOps[] = {
    {"upsample_nearest",
     "(Tensor x, *, int[] dims, float[]? scales=None, bool exact=false) -> Tensor", nearest},
    {"upsample_bilinear",
     "(Tensor x, *, int[] dims, bool align_corners=false, float[]? scales=None) -> Tensor", linear},
    {"upsample_bicubic",
     "(Tensor x, *, int[] dims, bool align_corners=false, float[]? scales=None) -> Tensor", cubic},
};

}  // namespace

extern const OpFamily k_family_upsample = kOps;

}  // namespace regraft::ops
