// Operands: x, out. The line is kept in shared memory where it fits (ints[0]).
typedef typename ComputeOf<T1>::type C;
extern __shared__ __align__(16) unsigned char cache_bytes[];

__device__ inline C read(const Args& a, i64 base, i64 i) {
  return to<C, T1>(to<T1, typename ComputeOf<T0>::type>(
      load<typename ComputeOf<T0>::type, T0>(a.kept[0], base + along(a.line[0], i))));
}

__device__ void line(const Args& a, i64 index) {
  __shared__ C shared[MAX_THREADS];
  C* cache = (C*)cache_bytes;
  const bool cached = a.ints[0] != 0;
  const i64 base = offset_of(index, a.kept[0]);
  const i64 target = offset_of(index, a.kept[1]);
  const u32 me = threadIdx.x, threads = blockDim.x;
  C mine = C(-REGRAFT_INF);
  for (i64 i = me; i < a.length; i += threads) {
    const C x = read(a, base, i);
    if (cached) cache[i] = x;
    mine = x > mine ? x : mine;
  }
  const C most = combine(mine, shared, [](C x, C y) { return x > y ? x : y; });
  mine = C(0);
  for (i64 i = me; i < a.length; i += threads) {
    const C x = (cached ? cache[i] : read(a, base, i)) - most;
#if defined(OP_log_softmax)
    if (cached) cache[i] = x;
    mine += exp(x);
#else
    const C e = exp(x);
    if (cached) cache[i] = e;
    mine += e;
#endif
  }
  const C sum = combine(mine, shared, [](C x, C y) { return x + y; });
#if defined(OP_log_softmax)
  const C shift = log(sum);
#endif
  for (i64 i = me; i < a.length; i += threads) {
#if defined(OP_log_softmax)
    const C result = (cached ? cache[i] : read(a, base, i) - most) - shift;
#else
    const C result = (cached ? cache[i] : exp(read(a, base, i) - most)) / sum;
#endif
    store<T1, C>(a.kept[1], target + along(a.line[1], i), result);
  }
}
