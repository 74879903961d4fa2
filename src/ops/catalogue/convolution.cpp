#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

// Channels of the result; checks the weight's sizes against x. Weights are [out, in/groups, k...],
// transposed ones [in, out/groups, k...].
SymInt output_channels(const TypeContext& context, const TensorType& x, const TensorType& weight) {
  const int64_t groups = context.attributes().integer("groups");
  if (groups < 1) context.fail("groups: want at least 1, have ", groups);
  const SymInt& rows = weight.dims[0];
  const SymInt& columns = weight.dims[1];
  if (!can_equal(mod(rows, groups), 0)) {
    context.fail("weight: ", rows.str(), " channels do not divide into ", groups, " groups");
  }
  if (context.attributes().flag("transposed")) {
    same_size(context, rows, x.dims[1], "channels of x");
    return columns * groups;
  }
  same_size(context, columns * groups, x.dims[1], "channels of x");
  return rows;
}

SymInt transposed_size(const TypeContext& context, const SymInt& size, const SymInt& window,
                       size_t i) {
  const Attributes& attributes = context.attributes();
  const SymInt& stride = attributes.sizes("stride")[i];
  const SymInt& dilation = attributes.sizes("dilation")[i];
  const SymInt& extra = attributes.sizes("output_padding")[i];
  if (is_below(max(stride, dilation) - extra, 1)) {
    context.fail("output_padding: want less than stride or dilation, have ", extra.str());
  }
  const SymInt out = (size - 1) * stride - attributes.sizes("padding")[i] * 2 + window + extra;
  if (is_below(out, 1)) context.fail("x of spatial size ", size.str(), " gives size ", out.str());
  return out;
}

void convolution(TypeContext& context) {
  const TensorType& x = context.in(0);
  const TensorType& weight = context.in(1);
  if (weight.rank() < 3) context.fail("weight: want rank 3 to 5, have ", weight.str());
  const size_t spatial = weight.rank() - 2;
  spatial_begin(context, x, spatial, false);
  check_not_bool(context, x.dtype);
  check_same_dtype(context, 1, "weight");
  check_same_dtype(context, 2, "bias");
  const SymDims& stride = spatial_list(context, "stride", spatial, 1);
  const SymDims& padding = spatial_list(context, "padding", spatial, 0);
  const SymDims& dilation = spatial_list(context, "dilation", spatial, 1);
  spatial_list(context, "output_padding", spatial, 0);

  SymDims dims = {x.dims[0], output_channels(context, x, weight)};
  if (context.has(2) && (context.in(2).rank() != 1 || !can_equal(context.in(2).dims[0], dims[1]))) {
    context.fail("bias: want [", dims[1].str(), "], have ", to_string(context.in(2).dims));
  }
  for (size_t i = 0; i < spatial; ++i) {
    const SymInt& size = x.dims[i + 2];
    const SymInt window = effective_kernel(weight.dims[i + 2], dilation[i]);
    dims.push_back(context.attributes().flag("transposed")
                       ? transposed_size(context, size, window, i)
                       : window_count(context, size, window, stride[i], padding[i]));
  }
  context.out(x.dtype, std::move(dims));
}

constexpr OpDef kOps[] = {
    {"convolution",
     "(Tensor x, Tensor weight, Tensor? bias=None, *, int[] stride, int[] padding, int[] dilation, "
     "bool transposed=false, int[] output_padding, int groups=1) -> Tensor",
     convolution},
};

}  // namespace

extern const OpFamily k_family_convolution = kOps;

}  // namespace regraft::ops
