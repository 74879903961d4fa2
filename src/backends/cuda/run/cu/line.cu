// A block works on one line at a time: the elements along the axes that an op runs over. Operand k
// has its data and strides over the other axes in kept[k] and its strides along the line in
// line[k].
struct Args {
  View kept[N_OPERANDS];
  View line[N_OPERANDS];
  i64 lines;
  i64 length;
  i64 ints[REGRAFT_INTS];
  double numbers[REGRAFT_NUMBERS];
};

// Where element `i` of a line lies.
template <typename V>
__device__ inline i64 along(const V& line, i64 i) {
  return line.rank == 1 ? i * line.strides[0] : offset_of(i, line);
}

// Combines one value per thread, always in the same order; every thread gets the result.
template <typename C, typename F>
__device__ C combine(C mine, C* shared, F f) {
  __syncthreads();
  shared[threadIdx.x] = mine;
  for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      shared[threadIdx.x] = f(shared[threadIdx.x], shared[threadIdx.x + half]);
  }
  __syncthreads();
  return shared[0];
}

__device__ void line(const Args& a, i64 index);

extern "C" __global__ void run(const __grid_constant__ Args a) {
  for (i64 i = blockIdx.x; i < a.lines; i += gridDim.x)
    line(a, i);
}
