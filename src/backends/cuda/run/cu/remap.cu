// Moves elements: to what position of the input each position of the output looks.
__device__ inline i64 modulo(i64 a, i64 b) {
  const i64 r = a % b;
  return r < 0 ? r + b : r;
}

__device__ void element(const Args& a, i64 i) {
  const View& x = a.in[0];
  const View& out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 target = offset_at(out, position);
#if defined(OP_flat)
  // Row-major element ints[0] + position . ints[2..] of x, rolled by ints[1].
  i64 from = a.ints[0];
  for (int d = 0; d < (int)out.rank; ++d)
    from += position[d] * a.ints[2 + d];
  if (a.ints[1] >= 0) from = modulo(from - a.ints[1], a.count);
  at<T0>(out, target) = at<T0>(x, offset_of(from, x));
#elif defined(OP_pad)
  // ints: mode, then the number of elements before each axis.
  bool inside = true;
  i64 from = 0;
  for (int d = 0; d < (int)out.rank; ++d) {
    const i64 size = x.dims[d];
    i64 p = position[d] - a.ints[1 + d];
    if (p < 0 || p >= size) {
      if (a.ints[0] == 1) p = p < 0 ? -p : 2 * (size - 1) - p;
      if (a.ints[0] == 2) p = p < 0 ? 0 : size - 1;
      if (a.ints[0] == 3) p = p < 0 ? p + size : p - size;
      inside = inside && a.ints[0] != 0;
    }
    from += p * x.strides[d];
  }
  if (inside) {
    at<T0>(out, target) = at<T0>(x, from);
  } else if (a.ints[9]) {
    store<T0>(out, target, a.ints[10]);
  } else {
    store<T0>(out, target, a.numbers[0]);
  }
#elif defined(OP_flip)
  i64 from = 0;
  for (int d = 0; d < (int)out.rank; ++d)
    from += (a.ints[d] ? out.dims[d] - 1 - position[d] : position[d]) * x.strides[d];
  at<T0>(out, target) = at<T0>(x, from);
#elif defined(OP_roll)
  i64 from = 0;
  for (int d = 0; d < (int)out.rank; ++d)
    from += modulo(position[d] - a.ints[d], out.dims[d]) * x.strides[d];
  at<T0>(out, target) = at<T0>(x, from);
#elif defined(OP_repeat)
  // x has been given the rank of the output.
  i64 from = 0;
  for (int d = 0; d < (int)out.rank; ++d)
    from += position[d] % x.dims[d] * x.strides[d];
  at<T0>(out, target) = at<T0>(x, from);
#elif defined(OP_repeat_interleave)
  // ints: axis (-1: of the flattened input), times.
  if (a.ints[0] < 0) {
    at<T0>(out, target) = at<T0>(x, offset_of(position[0] / a.ints[1], x));
  } else {
    position[a.ints[0]] /= a.ints[1];
    at<T0>(out, target) = at<T0>(x, offset_at(x, position));
  }
#elif defined(OP_slice_scatter)
  // ints: axis, start, step, count.
  const i64 axis = a.ints[0], p = position[axis] - a.ints[1];
  const i64 nth = p / a.ints[2];
  if (p >= 0 && p % a.ints[2] == 0 && nth < a.ints[3]) {
    position[axis] = nth;
    at<T0>(out, target) = at<T0>(a.in[1], offset_at(a.in[1], position));
  } else {
    at<T0>(out, target) = at<T0>(x, offset_at(x, position));
  }
#elif defined(OP_triangle)
  // ints: diagonal, upper.
  const i64 row = position[out.rank - 2], column = position[out.rank - 1];
  const bool keeps = a.ints[1] ? column - row >= a.ints[0] : column - row <= a.ints[0];
  at<T0>(out, target) = keeps ? at<T0>(x, offset_at(x, position)) : T0{};
#endif
}
