// Sums of the columns of matrices whose columns are neighbours in memory. COLUMNS threads have
// WIDTH columns each, ROWS share their elements.
struct Args {
  const T0* x;
  T1* out;
  i64 length, step;  // Elements of a column and the distance between them.
  i64 x_matrix, out_matrix;
  i64 vectors, tiles;  // Of one matrix.
};

extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS) run(const __grid_constant__ Args a) {
  __shared__ float shared[ROWS][COLUMNS][WIDTH];
  const int column = threadIdx.x % COLUMNS, row = threadIdx.x / COLUMNS;
  const i64 matrix = blockIdx.x / a.tiles;
  const i64 vector = blockIdx.x % a.tiles * COLUMNS + column;
  const bool inside = vector < a.vectors;
  const T0* x = a.x + matrix * a.x_matrix + (inside ? vector : 0) * WIDTH;
  float sums[WIDTH];
#pragma unroll
  for (int j = 0; j < WIDTH; ++j)
    sums[j] = 0.f;
#pragma unroll 4
  for (i64 i = row; i < a.length; i += ROWS) {
    const Pack<T0, WIDTH> pack = load_pack<WIDTH>(x + i * a.step);
#pragma unroll
    for (int j = 0; j < WIDTH; ++j)
      sums[j] += to<float, T0>(pack.items[j]);
  }
#pragma unroll
  for (int j = 0; j < WIDTH; ++j)
    shared[row][column][j] = sums[j];
  for (int half = ROWS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (row >= half) continue;
#pragma unroll
    for (int j = 0; j < WIDTH; ++j)
      shared[row][column][j] += shared[row + half][column][j];
  }
  if (row != 0 || !inside) return;
  Pack<T1, WIDTH> done;
#pragma unroll
  for (int j = 0; j < WIDTH; ++j) {
#if defined(OP_mean)
    done.items[j] = to<T1, float>(shared[0][column][j] / (float)a.length);
#else
    done.items[j] = to<T1, float>(shared[0][column][j]);
#endif
  }
  *(Pack<T1, WIDTH>*)(a.out + matrix * a.out_matrix + vector * WIDTH) = done;
}
