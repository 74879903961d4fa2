// The instructions of pointwise programs. Values are bool, i64, float or double.
template <typename T>
struct RankOf {
  static const int value = 2;
};
template <>
struct RankOf<bool> {
  static const int value = 0;
};
template <>
struct RankOf<i64> {
  static const int value = 1;
};
template <>
struct RankOf<double> {
  static const int value = 3;
};
template <int R>
struct OfRank {
  typedef bool type;
};
template <>
struct OfRank<1> {
  typedef i64 type;
};
template <>
struct OfRank<2> {
  typedef float type;
};
template <>
struct OfRank<3> {
  typedef double type;
};
// The widest of the operands' types, at least that of rank `Least`.
template <int Least, typename A, typename B = bool>
struct Wide {
  static const int a = RankOf<A>::value, b = RankOf<B>::value, ab = a > b ? a : b;
  typedef typename OfRank<(ab > Least ? ab : Least)>::type type;
};
#define INTEGRAL(A, B) typename Wide<1, A, B>::type
#define REAL_OF(A, B) typename Wide<2, A, B>::type

#define UNARY_REAL(name, expression)                      \
  template <typename T>                                   \
  __device__ inline REAL_OF(T, bool) op_##name(T value) { \
    typedef REAL_OF(T, bool) C;                           \
    const C x = (C)value;                                 \
    return expression;                                    \
  }
UNARY_REAL(exp, exp(x))
UNARY_REAL(expm1, expm1(x))
UNARY_REAL(log, log(x))
UNARY_REAL(log2, log2(x))
UNARY_REAL(log10, log10(x))
UNARY_REAL(log1p, log1p(x))
UNARY_REAL(sqrt, sqrt(x))
UNARY_REAL(rsqrt, C(1) / sqrt(x))
UNARY_REAL(sin, sin(x))
UNARY_REAL(cos, cos(x))
UNARY_REAL(tan, tan(x))
UNARY_REAL(asin, asin(x))
UNARY_REAL(acos, acos(x))
UNARY_REAL(atan, atan(x))
UNARY_REAL(sinh, sinh(x))
UNARY_REAL(cosh, cosh(x))
UNARY_REAL(tanh, tanh(x))
UNARY_REAL(asinh, asinh(x))
UNARY_REAL(acosh, acosh(x))
UNARY_REAL(atanh, atanh(x))
UNARY_REAL(erf, erf(x))
UNARY_REAL(reciprocal, C(1) / x)
UNARY_REAL(sigmoid, C(1) / (C(1) + exp(-x)))
UNARY_REAL(silu, x / (C(1) + exp(-x)))
// erfc keeps the digits of large negative arguments.
UNARY_REAL(gelu, C(0.5) * x * erfc(-x * C(0.70710678118654752440)))
UNARY_REAL(gelu_tanh,
           C(0.5) * x * (C(1) + tanh(C(0.79788456080286535588) * (x + C(0.044715) * x * x * x))))
UNARY_REAL(hardswish, x* fmin(fmax(x + C(3), C(0)), C(6)) / C(6))
UNARY_REAL(hardsigmoid, x != x ? x : fmin(fmax(x + C(3), C(0)), C(6)) / C(6))
UNARY_REAL(mish, x* tanh(log1p(exp(x))))
UNARY_REAL(softplus, x > C(20) ? x : log1p(exp(x)))
#undef UNARY_REAL
// A Chebyshev fit of erfc with a relative error of 1.2e-7 (Press et al., "Numerical Recipes in C",
// 2nd edition, 6.2): a third of the instructions of erfc().
__device__ inline float op_gelu(float x) {
  const float z = fabsf(x) * 0.70710678118654752440f;
  const float t = __fdividef(1.f, 1.f + 0.5f * z);
  float sum = 0.17087277f;
  sum = sum * t - 0.82215223f;
  sum = sum * t + 1.48851587f;
  sum = sum * t - 1.13520398f;
  sum = sum * t + 0.27886807f;
  sum = sum * t - 0.18628806f;
  sum = sum * t + 0.09678418f;
  sum = sum * t + 0.37409196f;
  sum = sum * t + 1.00002368f;
  sum = sum * t - 1.26551223f;
  const float tail = t * exp(sum - z * z);
  return 0.5f * x * (x < 0.f ? tail : 2.f - tail);
}

#define UNARY_ANY(name, expression)                        \
  template <typename T>                                    \
  __device__ inline INTEGRAL(T, bool) op_##name(T value) { \
    typedef INTEGRAL(T, bool) C;                           \
    const C x = (C)value;                                  \
    return expression;                                     \
  }
UNARY_ANY(neg, -x)
UNARY_ANY(abs, x < C(0) ? -x : x == C(0) ? C(0) : x)
UNARY_ANY(square, x* x)
UNARY_ANY(sign, C((x > C(0)) - (x < C(0))))
UNARY_ANY(relu, x < C(0) ? C(0) : x)
#undef UNARY_ANY

#define ROUNDING(name, function)                                     \
  __device__ inline bool op_##name(bool x) { return x; }             \
  __device__ inline i64 op_##name(i64 x) { return x; }               \
  __device__ inline float op_##name(float x) { return function(x); } \
  __device__ inline double op_##name(double x) { return function(x); }
ROUNDING(floor, floor)
ROUNDING(ceil, ceil)
ROUNDING(round, rint)
ROUNDING(trunc, trunc)
#undef ROUNDING

template <typename A, typename B>
__device__ inline INTEGRAL(A, B) op_add(A x, B y) {
  return (INTEGRAL(A, B))x + (INTEGRAL(A, B))y;
}
template <typename A, typename B>
__device__ inline INTEGRAL(A, B) op_sub(A x, B y) {
  return (INTEGRAL(A, B))x - (INTEGRAL(A, B))y;
}
template <typename A, typename B>
__device__ inline INTEGRAL(A, B) op_mul(A x, B y) {
  return (INTEGRAL(A, B))x * (INTEGRAL(A, B))y;
}
template <typename A, typename B>
__device__ inline REAL_OF(A, B) op_div(A x, B y) {
  return (REAL_OF(A, B))x / (REAL_OF(A, B))y;
}
template <typename A, typename B>
__device__ inline REAL_OF(A, B) op_atan2(A x, B y) {
  return atan2((REAL_OF(A, B))x, (REAL_OF(A, B))y);
}

// INT64_MIN / -1 wraps to itself; division by zero gives zero.
__device__ inline i64 quotient(i64 x, i64 y) { return y == 0 ? 0 : y == -1 ? -x : x / y; }
__device__ inline i64 rest(i64 x, i64 y) { return y == 0 || y == -1 ? 0 : x % y; }
template <typename C>
struct Division {
  __device__ static C truncated(C x, C y) { return trunc(x / y); }
  // As Python's //: the largest whole number whose product with y does not pass x.
  __device__ static C floored(C x, C y) {
    if (y == C(0)) return x / y;
    const C r = fmod(x, y);
    C q = (x - r) / y;
    if (r != C(0) && (y < C(0)) != (r < C(0))) q -= C(1);
    if (q == C(0)) return copysign(C(0), x / y);
    const C whole = floor(q);
    return q - whole > C(0.5) ? whole + C(1) : whole;
  }
  __device__ static C fmod_of(C x, C y) { return fmod(x, y); }
  __device__ static C remainder_of(C x, C y) {
    const C r = fmod(x, y);
    return r != C(0) && (r < C(0)) != (y < C(0)) ? r + y : r;
  }
  __device__ static C power(C x, C y) { return pow(x, y); }
};
template <>
struct Division<i64> {
  __device__ static i64 truncated(i64 x, i64 y) { return quotient(x, y); }
  __device__ static i64 floored(i64 x, i64 y) {
    const i64 q = quotient(x, y);
    return rest(x, y) != 0 && (x < 0) != (y < 0) ? q - 1 : q;
  }
  __device__ static i64 fmod_of(i64 x, i64 y) { return rest(x, y); }
  __device__ static i64 remainder_of(i64 x, i64 y) {
    const i64 r = rest(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
  }
  __device__ static i64 power(i64 base, i64 exponent) {
    if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
    i64 result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base) {
      if (exponent & 1) result *= base;
    }
    return result;
  }
};
#define DIVISION(name, function)                                                     \
  template <typename A, typename B>                                                  \
  __device__ inline INTEGRAL(A, B) op_##name(A x, B y) {                             \
    return Division<INTEGRAL(A, B)>::function((INTEGRAL(A, B))x, (INTEGRAL(A, B))y); \
  }
DIVISION(div_trunc, truncated)
DIVISION(div_floor, floored)
DIVISION(fmod, fmod_of)
DIVISION(remainder, remainder_of)
DIVISION(pow, power)
#undef DIVISION

#define BINARY_SAME(name, result, expression)    \
  template <typename A, typename B>              \
  __device__ inline result op_##name(A a, B b) { \
    typedef typename Wide<0, A, B>::type C;      \
    const C x = (C)a, y = (C)b;                  \
    return expression;                           \
  }
#define WIDEST typename Wide<0, A, B>::type
BINARY_SAME(minimum, WIDEST, x != x || x < y ? x : y)
BINARY_SAME(maximum, WIDEST, x != x || x > y ? x : y)
BINARY_SAME(eq, bool, x == y)
BINARY_SAME(ne, bool, x != y)
BINARY_SAME(lt, bool, x < y)
BINARY_SAME(le, bool, x <= y)
BINARY_SAME(gt, bool, x > y)
BINARY_SAME(ge, bool, x >= y)
BINARY_SAME(logical_and, bool, x != C(0) && y != C(0))
BINARY_SAME(logical_or, bool, x != C(0) || y != C(0))
BINARY_SAME(logical_xor, bool, (x != C(0)) != (y != C(0)))
#undef BINARY_SAME
__device__ inline bool op_bitwise_and(bool x, bool y) { return x && y; }
__device__ inline bool op_bitwise_or(bool x, bool y) { return x || y; }
__device__ inline bool op_bitwise_xor(bool x, bool y) { return x != y; }
__device__ inline i64 op_bitwise_and(i64 x, i64 y) { return x & y; }
__device__ inline i64 op_bitwise_or(i64 x, i64 y) { return x | y; }
__device__ inline i64 op_bitwise_xor(i64 x, i64 y) { return x ^ y; }
__device__ inline i64 op_bitwise_and(i64 x, bool y) { return x & y; }
__device__ inline i64 op_bitwise_or(i64 x, bool y) { return x | y; }
__device__ inline i64 op_bitwise_xor(i64 x, bool y) { return x ^ y; }
__device__ inline i64 op_bitwise_and(bool x, i64 y) { return x & y; }
__device__ inline i64 op_bitwise_or(bool x, i64 y) { return x | y; }
__device__ inline i64 op_bitwise_xor(bool x, i64 y) { return x ^ y; }
__device__ inline bool op_bitwise_not(bool x) { return !x; }
__device__ inline i64 op_bitwise_not(i64 x) { return ~x; }
template <typename T>
__device__ inline bool op_logical_not(T x) {
  return x == T(0);
}
template <typename T>
__device__ inline bool op_isnan(T x) {
  return x != x;
}
template <typename T>
__device__ inline bool op_isinf(T x) {
  return false;
}
__device__ inline bool op_isinf(float x) { return x - x != 0.f && x == x; }
__device__ inline bool op_isinf(double x) { return x - x != 0. && x == x; }

template <typename A, typename B>
__device__ inline REAL_OF(A, B) op_leaky_relu(A x, B slope) {
  typedef REAL_OF(A, B) C;
  return x > A(0) ? (C)x : (C)x * (C)slope;
}
template <typename A, typename B>
__device__ inline REAL_OF(A, B) op_elu(A x, B alpha) {
  typedef REAL_OF(A, B) C;
  return (C)x <= C(0) ? (C)alpha * expm1((C)x) : (C)x;
}
template <typename A, typename B, typename D>
__device__ inline auto op_clamp(A x, B low, D high)
    -> decltype(op_minimum(op_maximum(x, low), high)) {
  return op_minimum(op_maximum(x, low), high);
}
template <typename T, typename A, typename B>
__device__ inline typename Wide<0, A, B>::type op_where(T condition, A x, B y) {
  typedef typename Wide<0, A, B>::type C;
  return condition != T(0) ? (C)x : (C)y;
}
#define OP_CAST(name, type, value)             \
  template <typename T>                        \
  __device__ inline type op_cast_##name(T x) { \
    return value;                              \
  }
OP_CAST(f32, float, (float)x)
OP_CAST(f64, double, (double)x)
OP_CAST(bf16, float, widen(to<bf16>(x)))
OP_CAST(f16, float, widen(to<f16>(x)))
OP_CAST(f8e4m3fn, float, widen(to<f8e4m3fn>(x)))
OP_CAST(f8e5m2, float, widen(to<f8e5m2>(x)))
OP_CAST(i64, i64, (i64)x)
OP_CAST(i32, i64, (i32)(i64)x)
OP_CAST(i16, i64, (i16)(i64)x)
OP_CAST(i8, i64, (i8)(i64)x)
OP_CAST(u8, i64, (u8)(i64)x)
OP_CAST(bool, bool, x != T(0))
#undef OP_CAST

// The value of an element in a program.
__device__ inline bool value_of(bool x) { return x; }
__device__ inline i64 value_of(u8 x) { return x; }
__device__ inline i64 value_of(i8 x) { return x; }
__device__ inline i64 value_of(i16 x) { return x; }
__device__ inline i64 value_of(i32 x) { return x; }
__device__ inline i64 value_of(i64 x) { return x; }
__device__ inline float value_of(f16 x) { return widen(x); }
__device__ inline float value_of(bf16 x) { return widen(x); }
__device__ inline float value_of(f8e4m3fn x) { return widen(x); }
__device__ inline float value_of(f8e5m2 x) { return widen(x); }
__device__ inline float value_of(float x) { return x; }
__device__ inline double value_of(double x) { return x; }
__device__ inline raw1 value_of(raw1 x) { return x; }
__device__ inline raw2 value_of(raw2 x) { return x; }
__device__ inline raw4 value_of(raw4 x) { return x; }
__device__ inline raw8 value_of(raw8 x) { return x; }
__device__ inline raw16 value_of(raw16 x) { return x; }

#define to_element(x) (to<TO>(x))

__device__ inline u32 bits_of(f16 x) { return x.bits; }
__device__ inline u32 bits_of(bf16 x) { return x.bits; }
__device__ inline u32 bits_of(f8e4m3fn x) { return x.bits; }
__device__ inline u32 bits_of(f8e5m2 x) { return x.bits; }
__device__ inline u32 bits_of(float x) { return __float_as_uint(x); }
__device__ inline u64 bits_of(double x) { return (u64)__double_as_longlong(x); }
__device__ inline u32 bits_of(raw1 x) { return x.bits; }
__device__ inline u32 bits_of(raw2 x) { return x.bits; }
__device__ inline u32 bits_of(raw4 x) { return x.bits; }
__device__ inline u64 bits_of(raw8 x) { return x.bits; }

// Sums of integers do not depend on their order.
__device__ inline void add_count(u64* total, u32 found) {
  if (total != nullptr && found != 0) atomicAdd(global(total), (u64)found);
}
