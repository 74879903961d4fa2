// A convolution of each channel by itself, on [N, H, W, C] images with [H, W, C] filters: a thread
// has WIDTH channels of TILE neighbouring places of a row. finish() is the generated epilogue.
struct Args {
  const T* x;
  const T* weight;
  const T* bias;
  T* out;
  i64 count, vectors, height, width, rows, columns, tiles;
  i64 x_strides[3], out_strides[3];  // Of N, H and W.
};
#define SPAN ((TILE - 1) * STRIDE_W + (KERNEL_W - 1) * DILATION_W + 1)

extern "C" __global__ void __launch_bounds__(128) run(const __grid_constant__ Args a) {
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (u32)a.count) return;
  const u32 vector = i % (u32)a.vectors, place = i / (u32)a.vectors;
  const int first = (int)(place % (u32)a.tiles) * TILE;
  const u32 rest = place / (u32)a.tiles;
  const int row = (int)(rest % (u32)a.rows);
  const u32 image = rest / (u32)a.rows;
  const int height = (int)a.height, width = (int)a.width, columns = (int)a.columns;
  const int channels = (int)a.vectors * WIDTH;
  const T* x = a.x + image * a.x_strides[0] + vector * WIDTH;
  const T* weight = a.weight + vector * WIDTH;
  const int left = first * STRIDE_W - PADDING_W;
  float sums[TILE][WIDTH];
#if HAS_BIAS
  const Pack<T, WIDTH> bias = *(const Pack<T, WIDTH>*)(a.bias + vector * WIDTH);
#endif
#pragma unroll
  for (int t = 0; t < TILE; ++t) {
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
#if HAS_BIAS
      sums[t][j] = to<float, T>(bias.items[j]);
#else
      sums[t][j] = 0.f;
#endif
    }
  }
#pragma unroll
  for (int kh = 0; kh < KERNEL_H; ++kh) {
    const int h = row * STRIDE_H - PADDING_H + kh * DILATION_H;
    if (h < 0 || h >= height) continue;
    const T* line = x + h * a.x_strides[1];
    Pack<T, WIDTH> seen[SPAN];
#pragma unroll
    for (int s = 0; s < SPAN; ++s) {
      const int w = left + s;
      if (w >= 0 && w < width) {
        seen[s] = *(const Pack<T, WIDTH>*)(line + w * a.x_strides[2]);
      } else {
#pragma unroll
        for (int j = 0; j < WIDTH; ++j)
          seen[s].items[j] = to<T, float>(0.f);
      }
    }
#pragma unroll
    for (int kw = 0; kw < KERNEL_W; ++kw) {
      const Pack<T, WIDTH> taps =
          *(const Pack<T, WIDTH>*)(weight + (kh * KERNEL_W + kw) * channels);
#pragma unroll
      for (int j = 0; j < WIDTH; ++j) {
        const float tap = to<float, T>(taps.items[j]);
#pragma unroll
        for (int t = 0; t < TILE; ++t)
          sums[t][j] += to<float, T>(seen[t * STRIDE_W + kw * DILATION_W].items[j]) * tap;
      }
    }
  }
  T* out = a.out + image * a.out_strides[0] + row * a.out_strides[1] + vector * WIDTH;
#pragma unroll
  for (int t = 0; t < TILE; ++t) {
    if (first + t >= columns) continue;
    Pack<T, WIDTH> done;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j)
      done.items[j] = finish(sums[t][j]);
    *(Pack<T, WIDTH>*)(out + (first + t) * a.out_strides[2]) = done;
  }
}
