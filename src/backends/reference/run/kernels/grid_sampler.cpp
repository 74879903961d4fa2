#include <cmath>

#include "backends/reference/run/sample.h"

namespace regraft::reference {
namespace {

enum class Padding { Zeros, Border, Reflection };

// One axis of x; coordinates are in R = float for all dtypes but f64, as PyTorch's.
template <typename R>
struct Axis {
  int64_t size;
  Padding padding;
  bool align_corners;

  // From [-1, 1] to positions in which the first pixel's centre is 0.
  R position(R coordinate) const {
    const R steps = static_cast<R>(align_corners ? size - 1 : size);
    const R at = (coordinate + 1) * (steps / 2);
    return align_corners ? at : at - R(0.5);
  }

  // Mirrors at the first and last pixel: at their centres, or at their outer edges.
  R reflect(R at) const {
    const R low = align_corners ? R(0) : R(-0.5);
    const R span = static_cast<R>(align_corners ? size - 1 : size);
    if (span == 0) return 0;
    const R distance = std::fabs(at - low);
    const R rest = std::fmod(distance, span);
    const bool is_mirrored = std::fmod(std::floor(distance / span), R(2)) != 0;
    return (is_mirrored ? span - rest : rest) + low;
  }

  // The position with the padding rule applied; NaN becomes 0 where there is one.
  R place(R at) const {
    if (padding == Padding::Zeros) return at;
    if (padding == Padding::Reflection) at = reflect(at);
    return at > 0 ? std::min(at, static_cast<R>(size - 1)) : R(0);
  }

  int64_t index(R at) const {
    return at >= 0 && at < static_cast<R>(size) ? static_cast<int64_t>(at) : Sample::kOutside;
  }
};

template <typename R>
Sample sample(const Axis<R>& axis, R coordinate, std::string_view mode) {
  if (mode == "nearest") {
    return {1, {axis.index(std::nearbyint(axis.place(axis.position(coordinate))))}, {1.0}};
  }
  if (mode == "bilinear") {
    const R at = axis.place(axis.position(coordinate));
    const R low = std::floor(at);
    return {2, {axis.index(low), axis.index(low + 1)}, {(low + 1) - at, at - low}};
  }
  // Bicubic: the padding rule is for each pixel read.
  const R at = axis.position(coordinate);
  const R low = std::floor(at);
  const double part = at - low;
  Sample out{
      4,
      {},
      {cubic_weight(part + 1), cubic_weight(part), cubic_weight(1 - part), cubic_weight(2 - part)}};
  for (int tap = 0; tap < 4; ++tap) {
    out.index[tap] = axis.index(axis.place(low + static_cast<R>(tap - 1)));
  }
  return out;
}

template <typename R>
void sample_grid(const Call& call) {
  const Attributes& attributes = call.attributes();
  const std::string& mode = attributes.text("mode");
  const std::string& rule = attributes.text("padding");
  const Padding padding = rule == "zeros"    ? Padding::Zeros
                          : rule == "border" ? Padding::Border
                                             : Padding::Reflection;
  const Tensor x = doubles(call, 0), grid = doubles(call, 1);
  const Tensor result(DType::F64, call.out(0).dims);
  const size_t spatial = x.dims().size() - 2;
  check_size("grid_sampler", "batch of grid", x.dims()[0], grid.dims()[0]);
  check_size("grid_sampler", "coordinates", static_cast<int64_t>(spatial), grid.dims().back());
  check_planes("grid_sampler", call.in(0), spatial);
  const Triple in = spatial_sizes(x.dims(), spatial);
  const int64_t places = product(spatial_sizes(result.dims(), spatial));
  const int64_t images = x.dims()[0], channels = x.dims()[1];

  base::parallel_for(images * places, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Sample along[3] = {{1, {0}, {1.0}}, {}, {}};
      const double* at = grid.view().as<double>() + i * static_cast<int64_t>(spatial);
      // The grid names the last axis first.
      for (size_t axis = 0; axis < spatial; ++axis) {
        along[2 - axis] = sample<R>({in[2 - axis], padding, attributes.flag("align_corners")},
                                    static_cast<R>(at[axis]), mode);
      }
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t plane = i / places * channels + c;
        result.mutable_view().as_mutable<double>()[plane * places + i % places] =
            blend(x.view().as<double>() + plane * product(in), in, along[0], along[1], along[2]);
      }
    }
  });
  copy(result.view(), call.out(0));
}

void grid_sampler(const Call& call) {
  call.in(0).dtype == DType::F64 ? sample_grid<double>(call) : sample_grid<float>(call);
}

constexpr KernelDef kKernels[] = {{"grid_sampler", grid_sampler}};

}  // namespace

extern const KernelFile k_kernels_grid_sampler = kKernels;

}  // namespace regraft::reference
