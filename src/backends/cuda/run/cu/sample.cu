// Interpolation: what an output reads along one axis is up to four positions and their weights.
template <typename T>
struct RealOf {
  typedef T type;
};
template <>
struct RealOf<i64> {
  typedef float type;
};
typedef typename RealOf<typename ComputeOf<T0>::type>::type C;
typedef C R;  // Positions: near a pixel's edge their rounding decides which pixel is read.

struct Sample {
  int count;
  i64 index[4];  // -1: a zero outside of the image.
  R weight[4];
};

// Keys' cubic convolution with a = -0.75 at a distance from 0 to 2.
__device__ inline R cubic_weight(R x) {
  const R a = R(-0.75);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}
__device__ inline i64 clamped(i64 x, i64 size) { return x < 0 ? 0 : x >= size ? size - 1 : x; }
__device__ inline R within(R x) { return x < 0 ? R(0) : x > 1 ? R(1) : x; }

__device__ C blend(const View& x, i64 plane, const Sample* along) {
  C sum = C(0);
  for (int d = 0; d < along[0].count; ++d) {
    for (int h = 0; h < along[1].count; ++h) {
      if (along[0].index[d] < 0 || along[1].index[h] < 0) continue;
      const i64 row = plane + along[0].index[d] * x.strides[2] + along[1].index[h] * x.strides[3];
      C line = C(0);
      for (int w = 0; w < along[2].count; ++w) {
        if (along[2].index[w] < 0) continue;
        line += load<C, T0>(x, row + along[2].index[w] * x.strides[4]) * along[2].weight[w];
      }
      sum += line * (along[0].weight[d] * along[1].weight[h]);
    }
  }
  return sum;
}

#if defined(OP_grid_sampler)
// padding: 0 zeros, 1 border, 2 reflection.
struct Axis {
  i64 size, padding;
  bool align_corners;

  __device__ R position(R coordinate) const {
    const R steps = (R)(align_corners ? size - 1 : size);
    const R p = (coordinate + 1) * (steps / 2);
    return align_corners ? p : p - R(0.5);
  }
  __device__ R reflect(R p) const {
    const R low = align_corners ? R(0) : R(-0.5);
    const R span = (R)(align_corners ? size - 1 : size);
    if (span == 0) return 0;
    const R distance = fabs(p - low);
    const R rest = fmod(distance, span);
    const bool is_mirrored = fmod(floor(distance / span), R(2)) != 0;
    return (is_mirrored ? span - rest : rest) + low;
  }
  __device__ R place(R p) const {
    if (padding == 0) return p;
    if (padding == 2) p = reflect(p);
    return p > 0 ? (p < (R)(size - 1) ? p : (R)(size - 1)) : R(0);
  }
  __device__ i64 index(R p) const { return p >= 0 && p < (R)size ? (i64)p : -1; }

  __device__ Sample sample(R coordinate, i64 mode) const {
    Sample out;
    if (mode == 0) {
      out.count = 1;
      out.index[0] = index(rint(place(position(coordinate))));
      out.weight[0] = 1;
      return out;
    }
    if (mode == 1) {
      const R p = place(position(coordinate)), low = floor(p);
      out.count = 2;
      out.index[0] = index(low);
      out.index[1] = index(low + 1);
      out.weight[0] = (low + 1) - p;
      out.weight[1] = p - low;
      return out;
    }
    const R p = position(coordinate), low = floor(p), part = p - low;
    out.count = 4;
    out.weight[0] = cubic_weight(part + 1);
    out.weight[1] = cubic_weight(part);
    out.weight[2] = cubic_weight(1 - part);
    out.weight[3] = cubic_weight(2 - part);
    for (int tap = 0; tap < 4; ++tap)
      out.index[tap] = index(place(low + (R)(tap - 1)));
    return out;
  }
};

// ints: mode, padding, align_corners, spatial dimensions. The grid is [N, D, H, W, spatial].
__device__ void element(const Args& a, i64 i) {
  const View &x = a.in[0], &grid = a.in[1], &out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 spatial = a.ints[3];
  const i64 cell = position[0] * grid.strides[0] + position[2] * grid.strides[1] +
                   position[3] * grid.strides[2] + position[4] * grid.strides[3];
  Sample along[3];
  along[0].count = 1;
  along[0].index[0] = 0;
  along[0].weight[0] = 1;
  for (i64 k = 0; k < spatial; ++k) {
    const Axis axis = {x.dims[4 - k], a.ints[1], a.ints[2] != 0};
    along[2 - k] = axis.sample(load<R, T1>(grid, cell + k * grid.strides[4]), a.ints[0]);
  }
  const i64 plane = position[0] * x.strides[0] + position[1] * x.strides[1];
  store<O0, C>(out, offset_at(out, position), blend(x, plane, along));
}
#else
// mode: 0 nearest, 1 nearest-exact, 2 linear, 3 cubic.
__device__ Sample sample(i64 i, i64 in, i64 count, double scale, bool align_corners, i64 mode) {
  const R step = align_corners ? (count > 1 ? (R)(in - 1) / (R)(count - 1) : R(0))
                 : scale > 0   ? (R)(1.0 / scale)
                               : (R)in / (R)count;
  Sample out;
  out.count = 1;
  out.weight[0] = 1;
  if (mode <= 1) {
    const R p = ((R)i + (mode == 1 ? R(0.5) : R(0))) * step;
    out.index[0] = clamped((i64)floor(p), in);
    return out;
  }
  const R source = align_corners ? step * (R)i : step * ((R)i + R(0.5)) - R(0.5);
  if (mode == 2) {
    if (in == count) {
      out.index[0] = i;
      return out;
    }
    const R p = source > 0 ? source : R(0);
    const i64 low = clamped((i64)p, in);
    const R part = within(p - (R)low);
    out.count = 2;
    out.index[0] = low;
    out.index[1] = clamped(low + 1, in);
    out.weight[0] = R(1) - part;
    out.weight[1] = part;
    return out;
  }
  const i64 floor_of = (i64)floor(source);
  const i64 low = floor_of < in - 1 ? floor_of : in - 1;
  const R part = within(source - (R)low);
  out.count = 4;
  out.weight[0] = cubic_weight(part + 1);
  out.weight[1] = cubic_weight(part);
  out.weight[2] = cubic_weight(1 - part);
  out.weight[3] = cubic_weight(2 - part);
  for (int tap = 0; tap < 4; ++tap)
    out.index[tap] = clamped(low - 1 + tap, in);
  return out;
}

// ints: mode, align_corners, spatial dimensions; numbers: a scale for each of D, H and W, or 0.
__device__ void element(const Args& a, i64 i) {
  const View &x = a.in[0], &out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  Sample along[3];
  for (int d = 0; d < 3; ++d) {
    const bool is_spatial = d + a.ints[2] >= 3;
    along[d] = sample(position[2 + d], x.dims[2 + d], out.dims[2 + d], a.numbers[d], a.ints[1] != 0,
                      is_spatial ? a.ints[0] : 0);
  }
  const i64 plane = position[0] * x.strides[0] + position[1] * x.strides[1];
  store<O0, C>(out, offset_at(out, position), blend(x, plane, along));
}
#endif
