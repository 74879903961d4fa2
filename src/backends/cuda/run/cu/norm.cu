// Operands: x, out, then weight and bias (HAS_WEIGHT, HAS_BIAS) with broadcast strides.
// numbers[0]: eps. The line is kept in shared memory where it fits (ints[0]).
typedef typename ComputeOf<T1>::type C;
extern __shared__ __align__(16) unsigned char cache_bytes[];

__device__ inline C read(const Args& a, i64 base, i64 i) {
  return load<C, T0>(a.kept[0], base + along(a.line[0], i));
}
__device__ inline C plus(C x, C y) { return x + y; }

__device__ void line(const Args& a, i64 index) {
  __shared__ C shared[MAX_THREADS];
  C* cache = (C*)cache_bytes;
  const bool cached = a.ints[0] != 0;
  const i64 base = offset_of(index, a.kept[0]);
  const i64 target = offset_of(index, a.kept[1]);
  const u32 me = threadIdx.x, threads = blockDim.x;
  C mean = C(0), mine = C(0);
#if defined(OP_rms_norm)
  const C origin = C(0);
  for (i64 i = me; i < a.length; i += threads) {
    const C x = read(a, base, i);
    if (cached) cache[i] = x;
    mine += x * x;
  }
#else
  // Seen from the first element: sums of large numbers that differ little would lose them.
  const C origin = read(a, base, 0);
  for (i64 i = me; i < a.length; i += threads) {
    const C x = read(a, base, i) - origin;
    if (cached) cache[i] = x;
    mine += x;
  }
  mean = combine(mine, shared, plus) / (C)a.length;
  mine = C(0);
  for (i64 i = me; i < a.length; i += threads) {
    const C delta = (cached ? cache[i] : read(a, base, i) - origin) - mean;
    mine += delta * delta;
  }
#endif
  const C variance = combine(mine, shared, plus) / (C)a.length;
  const C scale = C(1) / sqrt(variance + (C)a.numbers[0]);
#if HAS_WEIGHT
  const i64 weight = offset_of(index, a.kept[WEIGHT]);
#endif
#if HAS_BIAS
  const i64 bias = offset_of(index, a.kept[BIAS]);
#endif
  for (i64 i = me; i < a.length; i += threads) {
    C y = ((cached ? cache[i] : read(a, base, i) - origin) - mean) * scale;
#if HAS_WEIGHT
    y *= load<C, TW>(a.kept[WEIGHT], weight + along(a.line[WEIGHT], i));
#endif
#if HAS_BIAS
    y += load<C, TB>(a.kept[BIAS], bias + along(a.line[BIAS], i));
#endif
    store<T1, C>(a.kept[1], target + along(a.line[1], i), y);
  }
}
