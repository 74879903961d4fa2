// Images are [N, C, D, H, W]; missing dimensions have size 1.
typedef typename ComputeOf<T0>::type C;

struct Box {
  i64 begin[3], end[3], step[3];
};

__device__ inline i64 smaller(i64 a, i64 b) { return a < b ? a : b; }
__device__ inline i64 larger(i64 a, i64 b) { return a > b ? a : b; }

__device__ inline Box adaptive(const View& x, const View& out, const i64* position) {
  Box box;
  for (int d = 0; d < 3; ++d) {
    const i64 p = position[2 + d], size = x.dims[2 + d], count = out.dims[2 + d];
    box.begin[d] = p * size / count;
    box.end[d] = ((p + 1) * size + count - 1) / count;
    box.step[d] = 1;
  }
  return box;
}

// ints: kernel, stride, padding, dilation, three each; then the op's own.
__device__ void element(const Args& a, i64 i) {
  const View &x = a.in[0], &out = a.out[0];
  const i64 *kernel = a.ints, *stride = a.ints + 3, *padding = a.ints + 6, *dilation = a.ints + 9;
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 plane = position[0] * x.strides[0] + position[1] * x.strides[1];
#if defined(OP_max_pool) || defined(OP_adaptive_max_pool)
  Box box;
#if defined(OP_adaptive_max_pool)
  box = adaptive(x, out, position);
#else
  for (int d = 0; d < 3; ++d) {
    const i64 begin = position[2 + d] * stride[d] - padding[d];
    box.end[d] = smaller(begin + (kernel[d] - 1) * dilation[d] + 1, x.dims[2 + d]);
    box.step[d] = dilation[d];
    box.begin[d] =
        begin < 0 ? begin + (-begin + dilation[d] - 1) / dilation[d] * dilation[d] : begin;
  }
#endif
  bool any = false;
  C most = C(0);
  T0 best = T0{};
  i64 index = (box.begin[0] * x.dims[3] + box.begin[1]) * x.dims[4] + box.begin[2];
  for (i64 d = box.begin[0]; d < box.end[0]; d += box.step[0]) {
    for (i64 h = box.begin[1]; h < box.end[1]; h += box.step[1]) {
      for (i64 w = box.begin[2]; w < box.end[2]; w += box.step[2]) {
        const T0 raw = at<T0>(x, plane + d * x.strides[2] + h * x.strides[3] + w * x.strides[4]);
        const C value = to<C, T0>(raw);
        if (!any || value > most || value != value) {
          most = value;
          best = raw;
          index = (d * x.dims[3] + h) * x.dims[4] + w;
        }
        any = true;
      }
    }
  }
  at<T0>(out, offset_at(out, position)) = best;
#if N_OUT > 1
  at<i64>(a.out[1], offset_at(a.out[1], position)) = index;
#endif
#elif defined(OP_avg_pool) || defined(OP_adaptive_avg_pool)
  // ints[12]: divisor, or 0; ints[13]: padding counts.
  Box box;
  i64 divisor = 1;
#if defined(OP_adaptive_avg_pool)
  box = adaptive(x, out, position);
  for (int d = 0; d < 3; ++d)
    divisor *= box.end[d] - box.begin[d];
#else
  for (int d = 0; d < 3; ++d) {
    const i64 begin = position[2 + d] * stride[d] - padding[d];
    const i64 end = smaller(begin + kernel[d], x.dims[2 + d] + padding[d]);
    box.begin[d] = larger(begin, 0);
    box.end[d] = smaller(end, x.dims[2 + d]);
    divisor *= a.ints[13] ? end - begin : box.end[d] - box.begin[d];
  }
  if (a.ints[12] != 0) divisor = a.ints[12];
#endif
  C sum = C(0);
  bool is_empty = false;
  for (int d = 0; d < 3; ++d)
    is_empty = is_empty || box.begin[d] >= box.end[d];
  for (i64 d = box.begin[0]; d < box.end[0]; ++d) {
    for (i64 h = box.begin[1]; h < box.end[1]; ++h) {
      for (i64 w = box.begin[2]; w < box.end[2]; ++w) {
        sum += load<C, T0>(x, plane + d * x.strides[2] + h * x.strides[3] + w * x.strides[4]);
      }
    }
  }
  store<O0, C>(out, offset_at(out, position), is_empty ? C(0) : sum / (C)divisor);
#elif defined(OP_convolution)
  // ints[12]: groups; ints[13]: transposed.
  const View& weight = a.in[1];
  const i64 groups = a.ints[12];
  const bool transposed = a.ints[13] != 0;
  const i64 channels = x.dims[1] / groups, results = out.dims[1] / groups;
  const i64 group = position[1] / results, result = position[1] % results;
  const i64 image = position[0] * x.strides[0] + group * channels * x.strides[1];
  const i64 to_channel = weight.strides[transposed ? 0 : 1];
  const i64 filter = transposed ? group * channels * weight.strides[0] + result * weight.strides[1]
                                : position[1] * weight.strides[0];
  C sum = C(0);
  for (i64 d = 0; d < kernel[0]; ++d) {
    for (i64 h = 0; h < kernel[1]; ++h) {
      for (i64 w = 0; w < kernel[2]; ++w) {
        const i64 tap[3] = {d, h, w};
        i64 from = image, taken = filter;
        bool inside = true;
        for (int k = 0; k < 3; ++k) {
          i64 p;
          if (transposed) {
            const i64 scaled = position[2 + k] + padding[k] - tap[k] * dilation[k];
            inside = inside && scaled >= 0 && scaled % stride[k] == 0;
            p = scaled / stride[k];
          } else {
            p = position[2 + k] * stride[k] - padding[k] + tap[k] * dilation[k];
          }
          inside = inside && p >= 0 && p < x.dims[2 + k];
          from += p * x.strides[2 + k];
          taken += tap[k] * weight.strides[2 + k];
        }
        if (!inside) continue;
        for (i64 c = 0; c < channels; ++c) {
          sum +=
              load<C, T0>(x, from + c * x.strides[1]) * load<C, T1>(weight, taken + c * to_channel);
        }
      }
    }
  }
#if HAS_IN2
  sum += load<C, T2>(a.in[2], position[1] * a.in[2].strides[0]);
#endif
  store<O0, C>(out, offset_at(out, position), sum);
#elif defined(OP_im2col)
  // The output is [N, C * taps, places], given as [N, C, D, H, W] with D = taps, H and W = places.
  const i64 tap = position[2];
  const i64 h = position[3] * stride[1] - padding[1] + tap / kernel[2] * dilation[1];
  const i64 w = position[4] * stride[2] - padding[2] + tap % kernel[2] * dilation[2];
  const bool inside = h >= 0 && h < x.dims[3] && w >= 0 && w < x.dims[4];
  at<T0>(out, offset_at(out, position)) =
      inside ? at<T0>(x, plane + h * x.strides[3] + w * x.strides[4]) : T0{};
#elif defined(OP_col2im)
  // The input is [N, C, taps, H, W] with H and W = places.
  C sum = C(0);
  for (i64 tap = 0; tap < kernel[1] * kernel[2]; ++tap) {
    const i64 h = position[3] + padding[1] - tap / kernel[2] * dilation[1];
    const i64 w = position[4] + padding[2] - tap % kernel[2] * dilation[2];
    if (h < 0 || w < 0 || h % stride[1] != 0 || w % stride[2] != 0) continue;
    const i64 row = h / stride[1], column = w / stride[2];
    if (row >= x.dims[3] || column >= x.dims[4]) continue;
    sum += load<C, T0>(x, plane + tap * x.strides[2] + row * x.strides[3] + column * x.strides[4]);
  }
  store<O0, C>(out, offset_at(out, position), sum);
#endif
}
