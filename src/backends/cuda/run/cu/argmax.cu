// Operands: x, indices, and values (HAS_VALUES). The first greatest or smallest element; the first
// NaN where there is one.
typedef typename ComputeOf<T0>::type C;
struct Best {
  C value;
  i64 index;  // -1: none.
};

__device__ inline Best better(Best x, Best y) {
  if (x.index < 0) return y;
  if (y.index < 0) return x;
  const bool x_nan = x.value != x.value, y_nan = y.value != y.value;
  bool takes_y;
  if (x_nan || y_nan) {
    takes_y = x_nan && y_nan ? y.index < x.index : y_nan;
  } else if (x.value == y.value) {
    takes_y = y.index < x.index;
  } else {
#if defined(GREATEST)
    takes_y = y.value > x.value;
#else
    takes_y = y.value < x.value;
#endif
  }
  return takes_y ? y : x;
}

__device__ void line(const Args& a, i64 index) {
  __shared__ Best shared[MAX_THREADS];
  const i64 base = offset_of(index, a.kept[0]);
  Best mine = {C(0), -1};
  for (i64 i = threadIdx.x; i < a.length; i += blockDim.x) {
    const Best next = {load<C, T0>(a.kept[0], base + along(a.line[0], i)), i};
    mine = better(mine, next);
  }
  mine = combine(mine, shared, better);
  if (threadIdx.x != 0) return;
  at<i64>(a.kept[1], offset_of(index, a.kept[1])) = mine.index;
#if HAS_VALUES
  at<T0>(a.kept[2], offset_of(index, a.kept[2])) =
      at<T0>(a.kept[0], base + along(a.line[0], mine.index));
#endif
}
