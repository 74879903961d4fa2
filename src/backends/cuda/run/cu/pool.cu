// Pooling of [N, H, W, C] images: a thread has WIDTH channels of one place.
struct Args {
  const T0* x;
  T0* out;
  i64 count, vectors, height, width, rows, columns;
  i64 x_strides[3], out_strides[3];  // Of N, H and W.
  i64 divisor, counts_padding;       // Of averages: 0 for the number of elements.
};

extern "C" __global__ void __launch_bounds__(128) run(const __grid_constant__ Args a) {
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (u32)a.count) return;
  const u32 vector = i % (u32)a.vectors, place = i / (u32)a.vectors;
  const int column = (int)(place % (u32)a.columns);
  const u32 rest = place / (u32)a.columns;
  const int row = (int)(rest % (u32)a.rows);
  const u32 image = rest / (u32)a.rows;
  const int height = (int)a.height, width = (int)a.width;
  const T0* x = a.x + image * a.x_strides[0] + vector * WIDTH;
  const int top = row * STRIDE_H - PADDING_H, left = column * STRIDE_W - PADDING_W;
  float values[WIDTH];
#pragma unroll
  for (int j = 0; j < WIDTH; ++j)
    values[j] = IS_MAX ? -REGRAFT_INF : 0.f;
#pragma unroll
  for (int kh = 0; kh < KERNEL_H; ++kh) {
    const int h = top + kh * DILATION_H;
    if (h < 0 || h >= height) continue;
#pragma unroll
    for (int kw = 0; kw < KERNEL_W; ++kw) {
      const int w = left + kw * DILATION_W;
      if (w < 0 || w >= width) continue;
      const Pack<T0, WIDTH> pack = load_pack<WIDTH>(x + h * a.x_strides[1] + w * a.x_strides[2]);
#pragma unroll
      for (int j = 0; j < WIDTH; ++j) {
        const float value = to<float, T0>(pack.items[j]);
#if IS_MAX
        if (value > values[j] || value != value) values[j] = value;
#else
        values[j] += value;
#endif
      }
    }
  }
#if !IS_MAX
  const int bottom = min(top + KERNEL_H, height + PADDING_H);
  const int right = min(left + KERNEL_W, width + PADDING_W);
  const int covered = (bottom - top) * (right - left);
  const int seen = (min(bottom, height) - max(top, 0)) * (min(right, width) - max(left, 0));
  // Windows behind the image are empty: 0.
  const int elements = max(a.counts_padding ? covered : seen, 1);
  const float divisor = (float)(a.divisor != 0 ? (int)a.divisor : elements);
#endif
  Pack<T0, WIDTH> done;
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
#if IS_MAX
    done.items[j] = to<T0, float>(values[j]);
#else
    done.items[j] = to<T0, float>(values[j] / divisor);
#endif
  }
  T0* out = a.out + image * a.out_strides[0] + row * a.out_strides[1] + column * a.out_strides[2];
  *(Pack<T0, WIDTH>*)(out + vector * WIDTH) = done;
}
