// Indices outside of an axis are taken as its ends: nothing outside of the tensors is touched.
__device__ inline i64 inside(i64 index, i64 size) {
  return index < 0 ? 0 : index >= size ? size - 1 : index;
}

__device__ void element(const Args& a, i64 i) {
#if defined(OP_embedding)
  const View &table = a.in[0], &indices = a.in[1], &out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 row = inside(load<i64, T1>(indices, offset_at(indices, position)), table.dims[0]);
  const i64 column = position[out.rank - 1];
  at<T0>(out, offset_at(out, position)) =
      at<T0>(table, row * table.strides[0] + column * table.strides[1]);
#elif defined(OP_index_select)
  const View &x = a.in[0], &out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 target = offset_at(out, position), axis = a.ints[0];
  position[axis] =
      inside(load<i64, T1>(a.in[1], position[axis] * a.in[1].strides[0]), x.dims[axis]);
  at<T0>(out, target) = at<T0>(x, offset_at(x, position));
#elif defined(OP_gather)
  const View &x = a.in[0], &out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 target = offset_at(out, position), axis = a.ints[0];
  position[axis] = inside(load<i64, T1>(a.in[1], offset_at(a.in[1], position)), x.dims[axis]);
  at<T0>(out, target) = at<T0>(x, offset_at(x, position));
#elif defined(OP_scatter)
  // One output element looks for all index elements that point to it, in their order.
  typedef typename ComputeOf<O0>::type C;
  const View &x = a.in[0], &index = a.in[1], &out = a.out[0];
  const i64 axis = a.ints[0], reduction = a.ints[1], include_self = a.ints[2];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 target = offset_at(out, position), mine = position[axis];
  const O0 old = at<O0>(x, offset_at(x, position));
  bool is_beside = index.dims[axis] > 0;
  for (int d = 0; d < (int)out.rank; ++d)
    is_beside = is_beside && (d == axis || position[d] < index.dims[d]);
  C value = to<C, O0>(old);
  i64 hits = 0;
  for (i64 k = 0; is_beside && k < index.dims[axis]; ++k) {
    position[axis] = k;
    if (inside(load<i64, T1>(index, offset_at(index, position)), out.dims[axis]) != mine) continue;
    C next;
#if HAS_IN2
    next = load<C, T2>(a.in[2], offset_at(a.in[2], position));
#else
    next = a.ints[3] ? to<C, i64>(a.ints[4]) : to<C, double>(a.numbers[0]);
#endif
    if (hits++ == 0 && !include_self) {
      value = next;
      continue;
    }
    switch (reduction) {
      case 0:
        value = next;
        break;
      case 1:
      case 3:
        value = value + next;
        break;
      case 2:
        value = value * next;
        break;
      default:
        if (value != value) break;
        if (next != next) {
          value = next;
          break;
        }
        value = (value < next) == (reduction == 4) ? next : value;
    }
  }
  if (hits == 0) {
    at<O0>(out, target) = old;
    return;
  }
  if (reduction == 3) {
    const i64 count = hits + include_self;
    if (C(0.5) == C(0)) {
      const i64 sum = (i64)value;
      value = (C)(sum / count - (sum % count < 0 ? 1 : 0));
    } else {
      value = value / (C)count;
    }
  }
  store<O0, C>(out, target, value);
#elif defined(OP_isin)
  typedef COMMON C;
  const View &x = a.in[0], &tests = a.in[1], &out = a.out[0];
  const C mine = load<C, T0>(x, offset_of(i, x));
  bool found = false;
  i64 count = 1;
  for (int d = 0; d < (int)tests.rank; ++d)
    count *= tests.dims[d];
  for (i64 k = 0; k < count && !found; ++k)
    found = load<C, T1>(tests, offset_of(k, tests)) == mine;
  store<O0>(out, offset_of(i, out), i64(found != (a.ints[0] != 0)));
#elif defined(OP_bucketize)
  typedef COMMON C;
  const View &x = a.in[0], &edges = a.in[1], &out = a.out[0];
  const C mine = load<C, T0>(x, offset_of(i, x));
  i64 begin = 0, end = edges.rank == 0 ? 1 : edges.dims[0];
  while (begin < end) {
    const i64 middle = begin + (end - begin) / 2;
    const C edge = load<C, T1>(edges, offset_of(middle, edges));
    if (a.ints[0] ? edge > mine : edge >= mine) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  store<O0>(out, offset_of(i, out), begin);
#endif
}
