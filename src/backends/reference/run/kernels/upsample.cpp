#include "backends/reference/run/sample.h"
#include "backends/resize_axis.h"

namespace regraft::reference {
namespace {

using Mode = backends::ResizeMode;
using Axis = backends::ResizeAxis;

void upsample(const Call& call, Mode mode) {
  const Attributes& attributes = call.attributes();
  const size_t spatial = attributes.sizes("dims").size();
  check_planes("upsample", call.in(0), spatial);
  const Triple in = spatial_sizes(call.in(0).dims, spatial);
  const Triple out = spatial_sizes(call.out(0).dims, spatial);
  std::vector<double> scales(spatial, 0.0);
  if (!attributes.is_none("scales")) scales = attributes.numbers("scales");
  std::vector<Sample> along[3];
  for (size_t i = 0; i < 3; ++i) {
    const bool is_spatial = i + spatial >= 3;
    const Axis axis{in[i], out[i], is_spatial ? scales[i + spatial - 3] : 0.0,
                    attributes.has("align_corners") && attributes.flag("align_corners")};
    const Mode axis_mode = is_spatial ? mode : Mode::Nearest;
    along[i] = call.in(0).dtype == DType::F64 ? backends::resize_samples<double>(axis, axis_mode)
                                              : backends::resize_samples<float>(axis, axis_mode);
  }
  const Tensor x = doubles(call, 0);
  const Tensor result(DType::F64, call.out(0).dims);
  const int64_t planes = call.out(0).dims[0] * call.out(0).dims[1];
  base::parallel_for(planes, 1, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const double* from = x.view().as<double>() + plane * product(in);
      auto* to = result.mutable_view().as_mutable<double>() + plane * product(out);
      for_each_position(out, [&](int64_t i, const Triple& at) {
        to[i] = blend(from, in, along[0][at[0]], along[1][at[1]], along[2][at[2]]);
      });
    }
  });
  copy(result.view(), call.out(0));
}

void upsample_nearest(const Call& call) {
  upsample(call, call.attributes().flag("exact") ? Mode::NearestExact : Mode::Nearest);
}

constexpr KernelDef kKernels[] = {
    {"upsample_nearest", upsample_nearest},
    {"upsample_bilinear", [](const Call& call) { upsample(call, Mode::Linear); }},
    {"upsample_bicubic", [](const Call& call) { upsample(call, Mode::Cubic); }},
};

}  // namespace

extern const KernelFile k_kernels_upsample = kKernels;

}  // namespace regraft::reference
