#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

// Positions of the sliding window over planes of `sizes`.
SymInt positions(const TypeContext& context, const SymInt* sizes) {
  const SymDims& kernel = spatial_list(context, "kernel", 2, 1);
  const SymDims& dilation = spatial_list(context, "dilation", 2, 1);
  const SymDims& padding = spatial_list(context, "padding", 2, 0);
  const SymDims& stride = spatial_list(context, "stride", 2, 1);
  SymInt count = 1;
  for (size_t i = 0; i < 2; ++i) {
    const SymInt window = effective_kernel(kernel[i], dilation[i]);
    count = count * window_count(context, sizes[i], window, stride[i], padding[i]);
  }
  return count;
}

void im2col(TypeContext& context) {
  const TensorType& x = context.in(0);
  const size_t begin = spatial_begin(context, x, 2, true);
  const SymInt columns = positions(context, &x.dims[begin]);
  SymDims dims(x.dims.begin(), x.dims.begin() + static_cast<ptrdiff_t>(begin));
  dims.back() = dims.back() * numel(context.attributes().sizes("kernel"));
  dims.push_back(columns);
  context.out(x.dtype, std::move(dims));
}

void col2im(TypeContext& context) {
  const TensorType& x = context.in(0);
  if (x.rank() != 2 && x.rank() != 3) context.fail("x: want rank 2 or 3, have ", x.str());
  const SymDims& sizes = spatial_list(context, "dims", 2, 1);
  same_size(context, positions(context, sizes.data()), x.dims.back(), "columns of x");
  const SymInt taps = numel(context.attributes().sizes("kernel"));
  SymDims dims(x.dims.begin(), x.dims.end() - 1);
  if (!can_equal(mod(dims.back(), taps), 0)) {
    context.fail("x: ", dims.back().str(), " rows are not a multiple of the kernel's ", taps.str());
  }
  dims.back() = floordiv(dims.back(), taps);
  dims.insert(dims.end(), sizes.begin(), sizes.end());
  context.out(x.dtype, std::move(dims));
}

// im2col: [N,C,H,W] -> [N, C*kernel, positions] (torch.nn.functional.unfold); col2im sums it back
// into planes of `dims` (fold). The batch may be absent.
constexpr OpDef kOps[] = {
    {"im2col", "(Tensor x, *, int[] kernel, int[] dilation, int[] padding, int[] stride) -> Tensor",
     im2col},
    {"col2im",
     "(Tensor x, *, int[] dims, int[] kernel, int[] dilation, int[] padding, int[] stride) "
     "-> Tensor",
     col2im},
};

}  // namespace

extern const OpFamily k_family_im2col = kOps;

}  // namespace regraft::ops
