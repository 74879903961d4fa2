// A product of matrices for types and layouts that no library takes. Both operands have strides
// over the output's dims; ints: the inner size and both operands' strides along it.
__device__ void element(const Args& a, i64 i) {
  typedef typename ComputeOf<O0>::type C;
  const View& out = a.out[0];
  i64 position[REGRAFT_MAX_RANK];
  unravel(i, out, position);
  const i64 x = offset_at(a.in[0], position), y = offset_at(a.in[1], position);
  C sum = C(0);
  for (i64 k = 0; k < a.ints[0]; ++k) {
    sum += load<C, T0>(a.in[0], x + k * a.ints[1]) * load<C, T1>(a.in[1], y + k * a.ints[2]);
  }
#if HAS_IN2
  sum += load<C, T2>(a.in[2], offset_at(a.in[2], position));
#endif
  store<O0, C>(out, offset_at(out, position), sum);
}
