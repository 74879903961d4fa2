// Norms of groups of channels that lie next to each other, as in images with their channels last.
// STAGE 0 adds up each chunk of rows, STAGE 1 does the rest. CHANNELS, GROUPS; WIDTH elements of a
// vector; ROWS rows that a block of STAGE 0 works on at a time.
#define PER_GROUP (CHANNELS / GROUPS)
#define COLUMNS (CHANNELS / WIDTH)
struct Args {
  const T0* x;
  float* sums;  // [image, chunk, group]: sum and sum of squares.
#if STAGE == 1
  T0* out;
  const TW* weight;
  const TB* bias;
#endif
  i64 x_image, x_row, out_image, out_row;
  i64 rows, chunks, chunk_rows, blocks;  // blocks: of STAGE 1, of an image.
  double eps;
};

// Everything is seen from the group's first element: sums of large numbers that differ little would
// lose them.
__device__ inline float origin_of(const T0* image, int channel) {
  return to<float, T0>(image[channel / PER_GROUP * PER_GROUP]);
}

#if STAGE == 0
extern "C" __global__ void __launch_bounds__(COLUMNS * ROWS) run(const __grid_constant__ Args a) {
  __shared__ float shared[2][ROWS][CHANNELS];
  const i64 image = blockIdx.x / (u32)a.chunks, chunk = blockIdx.x % (u32)a.chunks;
  const T0* x = a.x + image * a.x_image;
  const int column = threadIdx.x % COLUMNS * WIDTH, row = threadIdx.x / COLUMNS;
  const i64 end = min(a.rows, (chunk + 1) * a.chunk_rows);
  float origin[WIDTH], sum[WIDTH], square[WIDTH];
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
    origin[j] = origin_of(x, column + j);
    sum[j] = square[j] = 0.f;
  }
#pragma unroll 4
  for (i64 r = chunk * a.chunk_rows + row; r < end; r += ROWS) {
    const Pack<T0, WIDTH> pack = *(const Pack<T0, WIDTH>*)(x + r * a.x_row + column);
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
      const float delta = to<float, T0>(pack.items[j]) - origin[j];
      sum[j] += delta;
      square[j] += delta * delta;
    }
  }
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
    shared[0][row][column + j] = sum[j];
    shared[1][row][column + j] = square[j];
  }
  __syncthreads();
  for (int c = threadIdx.x; c < 2 * CHANNELS; c += COLUMNS * ROWS) {
    float* const of = &shared[c / CHANNELS][0][c % CHANNELS];
    float total = 0.f;
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
      total += of[r * CHANNELS];
    *of = total;
  }
  __syncthreads();
  for (int g = threadIdx.x; g < 2 * GROUPS; g += COLUMNS * ROWS) {
    const float* const of = &shared[g % 2][0][g / 2 * PER_GROUP];
    float total = 0.f;
    for (int c = 0; c < PER_GROUP; ++c)
      total += of[c];
    a.sums[(i64)blockIdx.x * (2 * GROUPS) + g] = total;
  }
}
#else
#define THREADS 256
#define LANES 8
extern "C" __global__ void __launch_bounds__(THREADS) run(const __grid_constant__ Args a) {
  __shared__ float means[GROUPS], factors[GROUPS];
  __shared__ alignas(16) float mean[CHANNELS], scale[CHANNELS], shift[CHANNELS];
  const i64 image = blockIdx.x / (u32)a.blocks, block = blockIdx.x % (u32)a.blocks;
  const T0* x = a.x + image * a.x_image;
  const int lane = threadIdx.x % LANES;
  for (int first = 0; first < GROUPS; first += THREADS / LANES) {
    const int g = first + threadIdx.x / LANES;
    float sum = 0.f, square = 0.f;
    if (g < GROUPS) {
      for (i64 chunk = lane; chunk < a.chunks; chunk += LANES) {
        const float* const of = a.sums + ((image * a.chunks + chunk) * GROUPS + g) * 2;
        sum += of[0];
        square += of[1];
      }
    }
#pragma unroll
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
      sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
      square += __shfl_xor_sync(0xffffffffu, square, lanes);
    }
    if (g < GROUPS && lane == 0) {
      const float count = (float)PER_GROUP * (float)a.rows;
      const float off = sum / count;
      const float variance = fmaxf(square / count - off * off, 0.f);
      means[g] = origin_of(x, g * PER_GROUP) + off;
      factors[g] = 1.f / sqrtf(variance + (float)a.eps);
    }
  }
  __syncthreads();
  for (int c = threadIdx.x; c < CHANNELS; c += THREADS) {
    mean[c] = means[c / PER_GROUP];
    scale[c] = factors[c / PER_GROUP] * (a.weight == nullptr ? 1.f : to<float, TW>(a.weight[c]));
    shift[c] = a.bias == nullptr ? 0.f : to<float, TB>(a.bias[c]);
  }
  __syncthreads();
  T0* const out = a.out + image * a.out_image;
  const u32 count = (u32)a.rows * COLUMNS, step = (u32)a.blocks * THREADS;
  for (u32 v = (u32)block * THREADS + threadIdx.x; v < count; v += step) {
    const u32 row = v / COLUMNS, column = v % COLUMNS * WIDTH;
    const Pack<T0, WIDTH> pack = *(const Pack<T0, WIDTH>*)(x + row * a.x_row + column);
    Pack<T0, WIDTH> done;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
      const int c = column + j;
      done.items[j] = finish((to<float, T0>(pack.items[j]) - mean[c]) * scale[c] + shift[c]);
    }
    *(Pack<T0, WIDTH>*)(out + row * a.out_row + column) = done;
  }
}
#endif
