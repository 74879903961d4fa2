#include "ops/type_rules_spatial.h"

namespace regraft::ops {

SymDims pooled_dims(const TypeContext& context, const SymDims& dims, size_t begin,
                    const SymDims& dilation) {
  const size_t spatial = dims.size() - begin;
  const SymDims& kernel = spatial_list(context, "kernel", spatial, 1);
  const SymDims& stride = spatial_list(context, "stride", spatial, 1);
  const SymDims& padding = spatial_list(context, "padding", spatial, 0);
  const bool ceil_mode = context.attributes().flag("ceil_mode");
  SymDims out(dims.begin(), dims.begin() + static_cast<ptrdiff_t>(begin));
  for (size_t i = 0; i < spatial; ++i) {
    const SymInt& size = dims[begin + i];
    if (is_below(size, 1)) context.fail("x: want non-empty planes, have ", to_string(dims));
    if (is_below(kernel[i] - padding[i] * 2, 0)) {
      context.fail("padding: want at most half the kernel ", to_string(kernel), ", have ",
                   to_string(padding));
    }
    const SymInt window = effective_kernel(kernel[i], dilation[i]);
    if (!ceil_mode) {
      out.push_back(window_count(context, size, window, stride[i], padding[i]));
      continue;
    }
    const SymInt span = size + padding[i] * 2 - window + stride[i] - SymInt(1);
    const SymInt last_begin = floordiv(size + padding[i] - SymInt(1), stride[i]);
    out.push_back(min(floordiv(span, stride[i]), last_begin) + SymInt(1));
    if (is_below(out.back(), 1)) context.fail("no window fits into ", to_string(dims));
  }
  return out;
}

}  // namespace regraft::ops
