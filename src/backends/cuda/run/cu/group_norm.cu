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

#define THREADS (COLUMNS * ROWS)

// Everything is seen from the group's first element: sums of large numbers that differ little would
// lose them.
__device__ inline float origin_of(const T0* image, int channel) {
  return to<float, T0>(image[channel / PER_GROUP * PER_GROUP]);
}

#if STAGE == 0
// Where shared memory has a channel: neighbouring threads write neighbouring words.
__device__ inline int place_of(int channel) { return channel % WIDTH * COLUMNS + channel / WIDTH; }

extern "C" __global__ void __launch_bounds__(THREADS) run(const __grid_constant__ Args a) {
  __shared__ float shared[2][ROWS][CHANNELS];
  const u32 image = blockIdx.x / (u32)a.chunks, chunk = blockIdx.x % (u32)a.chunks;
  const T0* x = a.x + image * a.x_image;
  const int column = threadIdx.x % COLUMNS, row = threadIdx.x / COLUMNS;
  const int begin = (int)(chunk * a.chunk_rows), end = min((int)a.rows, begin + (int)a.chunk_rows);
  float origin[WIDTH], sum[WIDTH], square[WIDTH];
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
    origin[j] = origin_of(x, column * WIDTH + j);
    sum[j] = square[j] = 0.f;
  }
  const T0* at = x + (begin + row) * a.x_row + column * WIDTH;
  const i64 step = ROWS * a.x_row;
#pragma unroll 4
  for (int r = begin + row; r < end; r += ROWS, at += step) {
    const Pack<T0, WIDTH> pack = *(const Pack<T0, WIDTH>*)at;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
      const float delta = to<float, T0>(pack.items[j]) - origin[j];
      sum[j] += delta;
      square[j] += delta * delta;
    }
  }
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
    shared[0][row][j * COLUMNS + column] = sum[j];
    shared[1][row][j * COLUMNS + column] = square[j];
  }
  __syncthreads();
  for (int c = threadIdx.x; c < 2 * CHANNELS; c += THREADS) {
    float* const of = &shared[c / CHANNELS][0][c % CHANNELS];
    float total = 0.f;
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
      total += of[r * CHANNELS];
    *of = total;
  }
  __syncthreads();
  for (int g = threadIdx.x; g < 2 * GROUPS; g += THREADS) {
    float total = 0.f;
    for (int c = g / 2 * PER_GROUP; c < (g / 2 + 1) * PER_GROUP; ++c)
      total += shared[g % 2][0][place_of(c)];
    a.sums[(i64)blockIdx.x * (2 * GROUPS) + g] = total;
  }
}
#else
#define LANES 8
extern "C" __global__ void __launch_bounds__(THREADS) run(const __grid_constant__ Args a) {
  __shared__ float parts[LANES][2 * GROUPS], means[GROUPS], factors[GROUPS];
  const u32 image = blockIdx.x / (u32)a.blocks, block = blockIdx.x % (u32)a.blocks;
  const T0* x = a.x + image * a.x_image;
  const float* sums = a.sums + image * a.chunks * (2 * GROUPS);
  for (int i = threadIdx.x; i < LANES * 2 * GROUPS; i += THREADS) {
    const int g = i % (2 * GROUPS), lane = i / (2 * GROUPS);
    float total = 0.f;
#pragma unroll 4
    for (int chunk = lane; chunk < (int)a.chunks; chunk += LANES)
      total += sums[chunk * (2 * GROUPS) + g];
    parts[lane][g] = total;
  }
  __syncthreads();
  for (int g = threadIdx.x; g < GROUPS; g += THREADS) {
    float sum = 0.f, square = 0.f;
#pragma unroll
    for (int lane = 0; lane < LANES; ++lane) {
      sum += parts[lane][2 * g];
      square += parts[lane][2 * g + 1];
    }
    const float count = (float)PER_GROUP * (float)a.rows;
    const float off = sum / count;
    const float variance = fmaxf(square / count - off * off, 0.f);
    means[g] = origin_of(x, g * PER_GROUP) + off;
    factors[g] = 1.f / sqrtf(variance + (float)a.eps);
  }
  __syncthreads();
  const int column = threadIdx.x % COLUMNS * WIDTH;
  float mean[WIDTH], scale[WIDTH], shift[WIDTH];
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
    const int c = column + j;
    mean[j] = means[c / PER_GROUP];
    scale[j] = factors[c / PER_GROUP] * (a.weight == nullptr ? 1.f : to<float, TW>(a.weight[c]));
    shift[j] = a.bias == nullptr ? 0.f : to<float, TB>(a.bias[c]);
  }
  T0* const out = a.out + image * a.out_image;
  const int step = (int)a.blocks * ROWS;
#pragma unroll 2
  for (int r = block * ROWS + threadIdx.x / COLUMNS; r < (int)a.rows; r += step) {
    const Pack<T0, WIDTH> pack = *(const Pack<T0, WIDTH>*)(x + r * a.x_row + column);
    Pack<T0, WIDTH> done;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j)
      done.items[j] = finish((to<float, T0>(pack.items[j]) - mean[j]) * scale[j] + shift[j]);
    *(Pack<T0, WIDTH>*)(out + r * a.out_row + column) = done;
  }
}
#endif
