#include "backends/reference/run/product.h"
#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

struct Geometry {
  Triple in, out, kernel, stride, padding, dilation;
  bool transposed;

  // The position of x that kernel tap `tap` reads for the result at `at`; false where there is
  // none. A transposed convolution reads where the forward one would have written.
  bool source(const Triple& at, const Triple& tap, Triple& from) const {
    for (size_t i = 0; i < 3; ++i) {
      if (transposed) {
        const int64_t scaled = at[i] + padding[i] - tap[i] * dilation[i];
        if (scaled < 0 || scaled % stride[i] != 0) return false;
        from[i] = scaled / stride[i];
      } else {
        from[i] = at[i] * stride[i] - padding[i] + tap[i] * dilation[i];
      }
      if (from[i] < 0 || from[i] >= in[i]) return false;
    }
    return true;
  }
};

std::vector<Triple> positions(const Triple& sizes) {
  std::vector<Triple> all;
  for_each_position(sizes, [&](int64_t, const Triple& at) { all.push_back(at); });
  return all;
}

// One factor of the sum that makes a result: a channel and a tap.
struct Factor {
  int64_t x_offset;  // Of the channel.
  int64_t weight_offset;
  Triple tap;
};

int64_t offset(const Triple& at, const Triple& strides) {
  return at[0] * strides[0] + at[1] * strides[1] + at[2] * strides[2];
}

Triple spatial_strides(const TensorView& view) {
  return triple(Dims(view.strides.begin() + 2, view.strides.end()), 0);
}

Geometry geometry(const Call& call) {
  const size_t spatial = call.in(0).dims.size() - 2;
  return {spatial_sizes(call.in(0).dims, spatial),
          spatial_sizes(call.out(0).dims, spatial),
          spatial_sizes(call.in(1).dims, spatial),
          triple(call, "stride", 1),
          triple(call, "padding", 0),
          triple(call, "dilation", 1),
          call.attributes().flag("transposed")};
}

std::vector<Factor> factors(const Call& call, const Geometry& g, int64_t in_channels) {
  const TensorView& weight = call.in(1);
  const int64_t to_in = weight.strides[g.transposed ? 0 : 1];
  const Triple strides = spatial_strides(weight);
  std::vector<Factor> all;
  for (int64_t channel = 0; channel < in_channels; ++channel) {
    for_each_position(g.kernel, [&](int64_t, const Triple& tap) {
      all.push_back({channel * call.in(0).strides[1], channel * to_in + offset(tap, strides), tap});
    });
  }
  return all;
}

// For each image and group: [out channels, in channels * taps] times a matrix whose columns are the
// patches of x that the result's positions see.
template <typename T>
void convolve(const Call& call) {
  using C = Compute<T>;
  const TensorView& x = call.in(0);
  const TensorView& weight = call.in(1);
  const MutableTensorView& out = call.out(0);
  const Geometry g = geometry(call);
  const int64_t groups = call.attributes().integer("groups");
  check_size("convolution", "channels of x",
             g.transposed ? weight.dims[0] : weight.dims[1] * groups, x.dims[1]);
  if (call.has(2)) check_size("convolution", "bias", out.dims[1], call.in(2).dims[0]);
  const int64_t in_channels = x.dims[1] / groups;
  const int64_t out_channels = out.dims[1] / groups;
  const std::vector<Factor> depth = factors(call, g, in_channels);
  const std::vector<Triple> places = positions(g.out);
  const Triple x_strides = spatial_strides(x), out_strides = spatial_strides(out);
  // A transposed weight has the channels of x first, of all groups, and the result's second.
  const int64_t to_out = weight.strides[g.transposed ? 1 : 0];
  const int64_t to_group = (g.transposed ? in_channels : out_channels) * weight.strides[0];

  // Tall tiles: gathering patches costs more than reading weights.
  const Tiling tiles(out_channels, std::ssize(places), 256, 64);
  base::parallel_for(x.dims[0] * groups * tiles.count(), 1, [&](int64_t begin, int64_t end) {
    Multiplier<C> multiplier;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t image = t / tiles.count() / groups, group = t / tiles.count() % groups;
      const T* from = x.as<T>() + image * x.strides[0] + group * in_channels * x.strides[1];
      const T* w = weight.as<T>() + group * to_group;
      const auto a = [&](int64_t o, int64_t p) {
        return convert<C>(w[o * to_out + depth[p].weight_offset]);
      };
      const auto b = [&](int64_t p, int64_t place) {
        Triple at;
        if (!g.source(places[place], depth[p].tap, at)) return C(0);
        return convert<C>(from[depth[p].x_offset + offset(at, x_strides)]);
      };
      const auto store = [&](int64_t o, int64_t place, C sum) {
        const int64_t channel = group * out_channels + o;
        if (call.has(2)) sum += convert<C>(call.in(2).as<T>()[channel * call.in(2).strides[0]]);
        out.as_mutable<T>()[image * out.strides[0] + channel * out.strides[1] +
                            offset(places[place], out_strides)] = convert<T>(sum);
      };
      multiplier.multiply(tiles.at(t % tiles.count()), std::ssize(depth), a, b, store);
    }
  });
}

void run(const Call& call) {
  visit_computed(call.out(0).dtype, [&](auto tag) { convolve<decltype(tag)>(call); });
}

constexpr KernelDef kKernels[] = {{"convolution", run}};

}  // namespace

extern const KernelFile k_kernels_convolution = kKernels;

}  // namespace regraft::reference
