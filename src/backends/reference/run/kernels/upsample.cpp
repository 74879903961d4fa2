#include <cmath>

#include "backends/reference/run/sample.h"

namespace regraft::reference {
namespace {

enum class Mode { Nearest, NearestExact, Linear, Cubic };

struct Axis {
  int64_t in, out;
  double scale;  // The factor PyTorch was given; 0: none.
  bool align_corners;
};

// Source positions are calculated in R = float for all dtypes but f64, as PyTorch does: near a
// pixel's edge the rounding decides which pixel is read.
template <typename R>
R step(const Axis& axis) {
  if (axis.align_corners) {
    return axis.out > 1 ? static_cast<R>(axis.in - 1) / static_cast<R>(axis.out - 1) : R(0);
  }
  return axis.scale > 0 ? static_cast<R>(1.0 / axis.scale)
                        : static_cast<R>(axis.in) / static_cast<R>(axis.out);
}

template <typename R>
Sample nearest(const Axis& axis, int64_t i, bool exact) {
  const R at = (static_cast<R>(i) + (exact ? R(0.5) : R(0))) * step<R>(axis);
  return {1, {std::min(static_cast<int64_t>(std::floor(at)), axis.in - 1)}, {1.0}};
}

// The position of output i between the centres of the input's pixels.
template <typename R>
R source(const Axis& axis, int64_t i) {
  if (axis.align_corners) return step<R>(axis) * static_cast<R>(i);
  return step<R>(axis) * (static_cast<R>(i) + R(0.5)) - R(0.5);
}

template <typename R>
Sample linear(const Axis& axis, int64_t i) {
  if (axis.in == axis.out) return {1, {i}, {1.0}};
  const R at = std::max(source<R>(axis, i), R(0));
  const int64_t low = std::min(static_cast<int64_t>(at), axis.in - 1);
  const R part = std::clamp(at - static_cast<R>(low), R(0), R(1));
  return {2, {low, std::min(low + 1, axis.in - 1)}, {R(1) - part, part}};
}

template <typename R>
Sample cubic(const Axis& axis, int64_t i) {
  const R at = source<R>(axis, i);
  const int64_t low = std::min(static_cast<int64_t>(std::floor(at)), axis.in - 1);
  const double part = std::clamp(at - static_cast<R>(low), R(0), R(1));
  Sample sample{
      4,
      {},
      {cubic_weight(part + 1), cubic_weight(part), cubic_weight(1 - part), cubic_weight(2 - part)}};
  for (int64_t tap = 0; tap < 4; ++tap) {
    sample.index[tap] = std::clamp<int64_t>(low - 1 + tap, 0, axis.in - 1);
  }
  return sample;
}

template <typename R>
std::vector<Sample> samples(const Axis& axis, Mode mode) {
  std::vector<Sample> all;
  for (int64_t i = 0; i < axis.out; ++i) {
    switch (mode) {
      case Mode::Nearest:
        all.push_back(nearest<R>(axis, i, false));
        break;
      case Mode::NearestExact:
        all.push_back(nearest<R>(axis, i, true));
        break;
      case Mode::Linear:
        all.push_back(linear<R>(axis, i));
        break;
      case Mode::Cubic:
        all.push_back(cubic<R>(axis, i));
        break;
    }
  }
  return all;
}

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
    along[i] = call.in(0).dtype == DType::F64 ? samples<double>(axis, axis_mode)
                                              : samples<float>(axis, axis_mode);
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
