// Norms of dense rows of LENGTH elements. WARPS warps work on a row and keep it in registers,
// VECTORS vectors of WIDTH elements in each thread; a block has ROWS rows.
struct Args {
  const T0* x;
  T1* out;
#if HAS_WEIGHT
  const TW* weight;
#endif
#if HAS_BIAS
  const TB* bias;
#endif
  i64 rows, x_row, out_row;
  double eps;
};

// Always in the same order; every thread of the row gets the result.
__device__ inline float sum_of_row(float mine, float* shared) {
  for (int lanes = 16; lanes > 0; lanes /= 2)
    mine += __shfl_xor_sync(0xffffffffu, mine, lanes);
#if WARPS > 1
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = mine;
  __syncthreads();
  mine = 0.f;
  for (int warp = 0; warp < WARPS; ++warp)
    mine += shared[warp];
#endif
  return mine;
}

extern "C" __global__ void __launch_bounds__(WARPS * ROWS * 32)
    run(const __grid_constant__ Args a) {
  __shared__ float shared[WARPS];
  const int me = threadIdx.x % (WARPS * 32);
  const i64 row = (i64)blockIdx.x * ROWS + threadIdx.x / (WARPS * 32);
  if (row >= a.rows) return;  // A whole warp, and where blocks wait for each other no block.
  const T0* x = a.x + row * a.x_row;
  float values[VECTORS][WIDTH];
  float mean = 0.f, mine = 0.f;
#if defined(OP_rms_norm)
  const float origin = 0.f;
#else
  // Seen from the first element: sums of large numbers that differ little would lose them.
  const float origin = to<float, T0>(x[0]);
#endif
#pragma unroll
  for (int v = 0; v < VECTORS; ++v) {
    const int at = (v * WARPS * 32 + me) * WIDTH;
    if (at >= LENGTH) continue;
    const Pack<T0, WIDTH> pack = load_pack<WIDTH>(x + at);
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
      values[v][j] = to<float, T0>(pack.items[j]) - origin;
#if defined(OP_rms_norm)
      mine += values[v][j] * values[v][j];
#else
      mine += values[v][j];
#endif
    }
  }
#if !defined(OP_rms_norm)
  mean = sum_of_row(mine, shared) / (float)LENGTH;
  mine = 0.f;
#pragma unroll
  for (int v = 0; v < VECTORS; ++v) {
    if ((v * WARPS * 32 + me) * WIDTH >= LENGTH) continue;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
      const float delta = values[v][j] - mean;
      mine += delta * delta;
    }
  }
#endif
  const float variance = sum_of_row(mine, shared) / (float)LENGTH;
  const float scale = 1.f / sqrtf(variance + (float)a.eps);
  T1* out = a.out + row * a.out_row;
#pragma unroll
  for (int v = 0; v < VECTORS; ++v) {
    const int at = (v * WARPS * 32 + me) * WIDTH;
    if (at >= LENGTH) continue;
#if HAS_WEIGHT
    const Pack<TW, WIDTH> weight = load_pack<WIDTH>(a.weight + at);
#endif
#if HAS_BIAS
    const Pack<TB, WIDTH> bias = load_pack<WIDTH>(a.bias + at);
#endif
    Pack<T1, WIDTH> done;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j) {
      float y = (values[v][j] - mean) * scale;
#if HAS_WEIGHT
      y *= to<float, TW>(weight.items[j]);
#endif
#if HAS_BIAS
      y += to<float, TB>(bias.items[j]);
#endif
      done.items[j] = to<T1, float>(y);
    }
    *(Pack<T1, WIDTH>*)(out + at) = done;
  }
}
