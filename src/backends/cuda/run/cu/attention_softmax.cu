// Rows of scores become weights. Operands: scores (float or double), weights, and the mask
// (HAS_MASK) with broadcast strides. numbers[0]: scale; ints: cached, causal. kept is
// [batch..., queries], the line is keys; ints[2]: how many rows one matrix has. A row without any
// key allowed becomes zeros.
typedef T0 C;
extern __shared__ __align__(16) unsigned char cache_bytes[];

__device__ inline C greater(C x, C y) { return x > y ? x : y; }
__device__ inline C plus(C x, C y) { return x + y; }

__device__ void line(const Args& a, i64 index) {
  __shared__ C shared[MAX_THREADS];
  C* cache = (C*)cache_bytes;
  const bool cached = a.ints[0] != 0;
  const i64 base = offset_of(index, a.kept[0]);
  const i64 target = offset_of(index, a.kept[1]);
#if HAS_MASK
  const i64 masked = offset_of(index, a.kept[2]);
#endif
  const i64 row = index % a.ints[2];
  const i64 allowed = a.ints[1] ? (row + 1 < a.length ? row + 1 : a.length) : a.length;
  const auto score = [&](i64 i) -> C {
    if (i >= allowed) return C(-REGRAFT_INF);
    C x = at<T0>(a.kept[0], base + along(a.line[0], i)) * (C)a.numbers[0];
#if HAS_MASK
#if MASK_IS_BOOL
    if (!at<bool>(a.kept[2], masked + along(a.line[2], i))) x = C(-REGRAFT_INF);
#else
    x += load<C, T2>(a.kept[2], masked + along(a.line[2], i));
#endif
#endif
    return x;
  };
  C mine = C(-REGRAFT_INF);
  for (i64 i = threadIdx.x; i < a.length; i += blockDim.x) {
    const C x = score(i);
    if (cached) cache[i] = x;
    mine = x != x ? x : greater(x, mine);
  }
  const C most = combine(mine, shared, greater);
  mine = C(0);
  const bool is_empty = most == C(-REGRAFT_INF);
  for (i64 i = threadIdx.x; i < a.length; i += blockDim.x) {
    const C e = is_empty ? C(0) : exp((cached ? cache[i] : score(i)) - most);
    if (cached) cache[i] = e;
    mine += e;
  }
  const C sum = combine(mine, shared, plus);
  for (i64 i = threadIdx.x; i < a.length; i += blockDim.x) {
    const C e = cached ? cache[i] : is_empty ? C(0) : exp(score(i) - most);
    store<T1, C>(a.kept[1], target + along(a.line[1], i), is_empty ? C(0) : e / sum);
  }
}
