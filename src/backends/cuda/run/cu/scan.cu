// Operands: x, out. The running value stays in the compute type; every prefix is rounded alone.
typedef typename ComputeOf<T1>::type C;

__device__ void line(const Args& a, i64 index) {
  if (threadIdx.x != 0) return;
  const i64 base = offset_of(index, a.kept[0]);
  const i64 target = offset_of(index, a.kept[1]);
#if defined(OP_cumsum)
  C running = C(0);
#else
  C running = C(1);
#endif
  for (i64 i = 0; i < a.length; ++i) {
    const C x = to<C, T1>(to<T1, typename ComputeOf<T0>::type>(
        load<typename ComputeOf<T0>::type, T0>(a.kept[0], base + along(a.line[0], i))));
#if defined(OP_cumsum)
    running = running + x;
#else
    running = running * x;
#endif
    store<T1, C>(a.kept[1], target + along(a.line[1], i), running);
  }
}
