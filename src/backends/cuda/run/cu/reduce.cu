// Operands: x, out.
#if defined(OP_any) || defined(OP_all) || defined(OP_amax) || defined(OP_amin)
typedef typename ComputeOf<T0>::type C;
typedef T0 Through;
#elif defined(OP_var)
typedef COMPUTE C;
typedef T0 Through;
#else
typedef COMPUTE C;
typedef T1 Through;
#endif

__device__ inline C read(const Args& a, i64 base, i64 i) {
  return to<C, Through>(to<Through, typename ComputeOf<T0>::type>(
      load<typename ComputeOf<T0>::type, T0>(a.kept[0], base + along(a.line[0], i))));
}

__device__ inline C extreme(C x, C y, bool greatest) {
  if (x != x) return x;
  if (y != y) return y;
  return greatest ? (x > y ? x : y) : (x < y ? x : y);
}

__device__ void line(const Args& a, i64 index) {
  __shared__ C shared[MAX_THREADS];
  const i64 base = offset_of(index, a.kept[0]);
  const i64 target = offset_of(index, a.kept[1]);
  const u32 me = threadIdx.x, threads = blockDim.x;
  C result = C(0);
#if defined(OP_sum) || defined(OP_mean)
  C mine = C(0);
  for (i64 i = me; i < a.length; i += threads)
    mine += read(a, base, i);
  result = combine(mine, shared, [](C x, C y) { return x + y; });
#if defined(OP_mean)
  result = result / (C)a.length;
#endif
#elif defined(OP_prod)
  C mine = C(1);
  for (i64 i = me; i < a.length; i += threads)
    mine *= read(a, base, i);
  result = combine(mine, shared, [](C x, C y) { return x * y; });
#elif defined(OP_amax) || defined(OP_amin)
#if defined(OP_amax)
  const bool greatest = true;
#else
  const bool greatest = false;
#endif
  C mine = read(a, base, me < a.length ? me : 0);
  for (i64 i = me; i < a.length; i += threads)
    mine = extreme(mine, read(a, base, i), greatest);
  result = combine(mine, shared, [=](C x, C y) { return extreme(x, y, greatest); });
#elif defined(OP_any) || defined(OP_all)
#if defined(OP_any)
  C mine = C(0);
  for (i64 i = me; i < a.length; i += threads)
    mine = mine != C(0) || read(a, base, i) != C(0) ? C(1) : C(0);
  result = combine(mine, shared, [](C x, C y) { return x != C(0) || y != C(0) ? C(1) : C(0); });
#else
  C mine = C(1);
  for (i64 i = me; i < a.length; i += threads)
    mine = mine != C(0) && read(a, base, i) != C(0) ? C(1) : C(0);
  result = combine(mine, shared, [](C x, C y) { return x != C(0) && y != C(0) ? C(1) : C(0); });
#endif
#elif defined(OP_var)
  // numbers[0]: the correction.
  const C origin = a.length > 0 ? read(a, base, 0) : C(0);
  C mine = C(0);
  for (i64 i = me; i < a.length; i += threads)
    mine += read(a, base, i) - origin;
  const C mean = combine(mine, shared, [](C x, C y) { return x + y; }) / (C)a.length;
  mine = C(0);
  for (i64 i = me; i < a.length; i += threads) {
    const C delta = read(a, base, i) - origin - mean;
    mine += delta * delta;
  }
  result = combine(mine, shared, [](C x, C y) { return x + y; });
  const double divisor = (double)a.length - a.numbers[0];
  result = result / (C)(divisor > 0 ? divisor : 0.0);
#elif defined(OP_norm)
  // numbers[0]: the order.
  const double order = a.numbers[0];
  if (isinf(order)) {
    const bool greatest = order > 0;
    C mine = C(0);
    bool any = false;
    for (i64 i = me; i < a.length; i += threads) {
      const C x = fabs(read(a, base, i));
      mine = any ? extreme(mine, x, greatest) : x;
      any = true;
    }
    if (!any) mine = a.length == 0 ? C(0) : fabs(read(a, base, 0));
    result = combine(mine, shared, [=](C x, C y) { return extreme(x, y, greatest); });
  } else {
    C mine = C(0);
    for (i64 i = me; i < a.length; i += threads) {
      const C x = read(a, base, i), magnitude = fabs(x);
      mine += order == 0   ? C(x != 0)
              : order == 1 ? magnitude
              : order == 2 ? x * x
                           : pow(magnitude, (C)order);
    }
    result = combine(mine, shared, [](C x, C y) { return x + y; });
    if (order == 2) result = sqrt(result);
    if (order != 0 && order != 1 && order != 2) result = pow(result, (C)(1 / order));
  }
#elif defined(OP_logsumexp)
  C mine = C(-REGRAFT_INF);
  for (i64 i = me; i < a.length; i += threads) {
    const C x = read(a, base, i);
    mine = x != x ? mine : x > mine ? x : mine;
  }
  const C most = combine(mine, shared, [](C x, C y) { return x > y ? x : y; });
  mine = C(0);
  for (i64 i = me; i < a.length; i += threads) {
    const C x = read(a, base, i);
    mine += x == most ? C(1) : x == C(-REGRAFT_INF) ? C(0) : exp(x - most);
  }
  const C sum = combine(mine, shared, [](C x, C y) { return x + y; });
  result = most == C(-REGRAFT_INF) && sum == sum ? most : log(sum) + most;
#endif
  if (me == 0) store<T1, C>(a.kept[1], target, result);
}
