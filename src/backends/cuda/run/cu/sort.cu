// Operands: x, values, indices. An element's place is the number of elements before it: equal ones
// keep their order, NaN counts as the greatest. ints: descending, how many places are wanted.
typedef typename ComputeOf<T0>::type C;

__device__ inline bool before(C x, C y) { return x < y || (y != y && x == x); }

__device__ void line(const Args& a, i64 index) {
  const i64 base = offset_of(index, a.kept[0]);
  const i64 values = offset_of(index, a.kept[1]), indices = offset_of(index, a.kept[2]);
  const bool descending = a.ints[0] != 0;
  for (i64 i = threadIdx.x; i < a.length; i += blockDim.x) {
    const C mine = load<C, T0>(a.kept[0], base + along(a.line[0], i));
    i64 place = 0;
    for (i64 k = 0; k < a.length; ++k) {
      const C other = load<C, T0>(a.kept[0], base + along(a.line[0], k));
      const bool first = descending ? before(mine, other) : before(other, mine);
      const bool last = descending ? before(other, mine) : before(mine, other);
      place += first || (!last && k < i);
    }
    if (place >= a.ints[1]) continue;
    at<T0>(a.kept[1], values + place * a.line[1].strides[0]) =
        at<T0>(a.kept[0], base + along(a.line[0], i));
    at<i64>(a.kept[2], indices + place * a.line[2].strides[0]) = i;
  }
}
