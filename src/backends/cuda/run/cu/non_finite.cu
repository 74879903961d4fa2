// Counts elements whose exponent bits are all set. Sums of integers do not depend on their order.
struct Args {
  const T0* x;
  u64* total;
  i64 count;
};

extern "C" __global__ void run(const __grid_constant__ Args a) {
  u32 found = 0;
  const i64 step = (i64)gridDim.x * blockDim.x;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < a.count; i += step) {
    const typename ComputeOf<T0>::type x = to<typename ComputeOf<T0>::type, T0>(a.x[i]);
    found += x - x != x - x;
  }
  for (int lane = 16; lane > 0; lane /= 2)
    found += __shfl_down_sync(0xffffffffu, found, lane);
  if (threadIdx.x % 32 == 0 && found != 0) atomicAdd(a.total, (u64)found);
}
