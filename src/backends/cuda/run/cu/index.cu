// Index tensors have the strides of the result's dims. ints[d] says what axis d of x reads: the
// operand of its index (0, 1, ...), or -1 - the dimension of the result that it keeps. index_at()
// reads an index of its type.
__device__ inline i64 wrapped(i64 index, i64 size) {
  if (index < 0) index += size;
  return index < 0 ? 0 : index >= size ? size - 1 : index;
}

__device__ void element(const Args& a, i64 i) {
#if defined(OP_index)
  const View &x = a.in[0], &out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  i64 from = 0;
  for (int d = 0; d < (int)x.rank; ++d) {
    i64 p;
    if (a.ints[d] < 0) {
      p = position[-1 - a.ints[d]];
    } else {
      const View& index = a.in[1 + a.ints[d]];
      p = wrapped(index_at(a.ints[d], index, offset_at(index, position)), x.dims[d]);
    }
    from += p * x.strides[d];
  }
  at<T0>(out, offset_at(out, position)) = at<T0>(x, from);
#elif defined(OP_index_put)
  // One element looks for all index positions that write it, in their order. in[1] has the dims and
  // broadcast strides of the result of x[indices]; ints[8], ints[9]: the first of the dimensions
  // over which the indices are broadcast, and how many; ints[10]: accumulate.
  typedef typename ComputeOf<T0>::type C;
  const View &x = a.in[0], &values = a.in[1], &out = a.out[0];
  i64 mine[REGRAFT_MAX_RANK], position[REGRAFT_MAX_RANK];
  unravel(i, out, mine);
  const i64 first = a.ints[8], dims = a.ints[9];
  i64 count = 1;
  for (i64 d = first; d < first + dims; ++d)
    count *= values.dims[d];
  for (int d = 0; d < (int)x.rank; ++d) {
    if (a.ints[d] < 0) position[-1 - a.ints[d]] = mine[d];
  }
  T0 value = at<T0>(x, offset_at(x, mine));
  for (i64 p = 0; p < count; ++p) {
    i64 rest = p;
    for (i64 d = first + dims - 1; d >= first; --d) {
      position[d] = rest % values.dims[d];
      rest /= values.dims[d];
    }
    bool is_mine = true;
    for (int d = 0; d < (int)x.rank && is_mine; ++d) {
      if (a.ints[d] < 0) continue;
      const View& index = a.in[2 + a.ints[d]];
      is_mine =
          wrapped(index_at(a.ints[d], index, offset_at(index, position)), x.dims[d]) == mine[d];
    }
    if (!is_mine) continue;
    const T0 next = at<T0>(values, offset_at(values, position));
    value = a.ints[10] ? to<T0, C>(to<C, T0>(value) + to<C, T0>(next)) : next;
  }
  at<T0>(out, offset_at(out, mine)) = value;
#endif
}
