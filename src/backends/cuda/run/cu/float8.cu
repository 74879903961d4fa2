// Elements of 8-bit floats.
struct f8e4m3fn {
  u8 bits;
};
struct f8e5m2 {
  u8 bits;
};

// As tensor/float8.h, bit for bit. Exponents are moved to where floats have them, with what stands
// for zero: a multiplication moves them back, and makes subnormals normal.
__device__ inline float widen(f8e4m3fn x) {
  const u32 magnitude = x.bits & 0x7fu;
  u32 bits = __float_as_uint(__uint_as_float(magnitude << 20) * 0x1p120f);
  if (magnitude == 0x7fu) bits = 0x7ff00000u;
  return __uint_as_float(bits | (x.bits & 0x80u) << 24);
}
__device__ inline float widen(f8e5m2 x) {
  const u32 magnitude = x.bits & 0x7fu;
  u32 bits = __float_as_uint(__uint_as_float(magnitude << 21) * 0x1p112f);
  if (magnitude >= 0x7cu) bits = 0x7f800000u | magnitude << 21;
  if (magnitude > 0x7cu) bits |= 0x00400000u;
  return __uint_as_float(bits | (x.bits & 0x80u) << 24);
}
// To the code of a magnitude with `digits` bits of mantissa and exponents `bias` below a float's;
// `largest` is what overflow becomes, `round` is the number whose last bit is worth a subnormal's.
__device__ inline u8 narrow_f8(float x, int digits, u32 bias, u32 largest, float round) {
  const u32 bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu;
  const int cut = 23 - digits;
  const u32 half = (1u << (cut - 1)) - 1u + (magnitude >> cut & 1u);
  u32 code = min((magnitude - (bias << 23) + half) >> cut, largest);
  if (magnitude < (bias + 1u) << 23) {
    code = __float_as_uint(__uint_as_float(magnitude) + round) - __float_as_uint(round);
  }
  if (magnitude > 0x7f800000u) code = 0x7fu;
  return (u8)(code | (bits >> 24 & 0x80u));
}
__device__ inline f8e4m3fn narrow_f8e4m3fn(float x) {
  return {narrow_f8(x, 3, 120u, 0x7eu, 0x1p14f)};
}
__device__ inline f8e5m2 narrow_f8e5m2(float x) { return {narrow_f8(x, 2, 112u, 0x7cu, 0x1p7f)}; }

// Everything through float, as in PyTorch.
#define REGRAFT_FLOAT8(F8)                                                   \
  template <>                                                                \
  struct ComputeOf<F8> {                                                     \
    typedef float type;                                                      \
  };                                                                         \
  template <typename C>                                                      \
  struct Convert<C, F8> {                                                    \
    __device__ static C of(F8 x) { return Convert<C, float>::of(widen(x)); } \
  };                                                                         \
  template <>                                                                \
  struct Convert<F8, F8> {                                                   \
    __device__ static F8 of(F8 x) { return x; }                              \
  };                                                                         \
  template <>                                                                \
  struct Convert<F8, float> {                                                \
    __device__ static F8 of(float x) { return narrow_##F8(x); }              \
  };                                                                         \
  template <>                                                                \
  struct Convert<F8, double> {                                               \
    __device__ static F8 of(double x) { return narrow_##F8((float)x); }      \
  };                                                                         \
  template <>                                                                \
  struct Convert<F8, i64> {                                                  \
    __device__ static F8 of(i64 x) { return narrow_##F8((float)x); }         \
  };                                                                         \
  template <>                                                                \
  struct Convert<F8, bool> {                                                 \
    __device__ static F8 of(bool x) { return narrow_##F8(x ? 1.f : 0.f); }   \
  };
REGRAFT_FLOAT8(f8e4m3fn)
REGRAFT_FLOAT8(f8e5m2)
#undef REGRAFT_FLOAT8
