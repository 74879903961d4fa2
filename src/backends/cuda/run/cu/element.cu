// One call of element(a, i) for each i below a.count.
struct Args {
  View in[N_IN];
  View out[N_OUT];
  i64 count;
  i64 ints[REGRAFT_INTS];
  double numbers[REGRAFT_NUMBERS];
};
__device__ void element(const Args& a, i64 i);

extern "C" __global__ void run(const __grid_constant__ Args a) {
  const i64 step = (i64)gridDim.x * blockDim.x;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += step)
    element(a, i);
}
