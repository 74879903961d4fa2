// ints: whether the numbers are integers, then first, step. numbers: first, step.
__device__ void element(const Args& a, i64 i) {
  const View& out = a.out[0];
  const i64 target = offset_of(i, out);
#if defined(OP_full)
  if (a.ints[0]) {
    store<O0>(out, target, a.ints[1]);
  } else {
    store<O0>(out, target, a.numbers[0]);
  }
#elif defined(OP_arange)
  typedef typename ComputeOf<O0>::type C;
  if (sizeof(C) == 8 && C(0.5) == C(0)) {
    store<O0>(out, target, a.ints[1] + a.ints[2] * i);
  } else {
    store<O0>(out, target, a.numbers[0] + a.numbers[1] * (double)i);
  }
#elif defined(OP_eye)
  store<O0>(out, target, i64(i / out.dims[1] == i % out.dims[1]));
#endif
}
