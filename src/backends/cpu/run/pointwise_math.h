#pragma once

#include <cmath>
#include <limits>

#include "backends/cpu/run/vector_math.h"
#include "tensor/convert.h"

namespace regraft::cpu {

// The scalar form of pointwise ops, as PyTorch defines them: NaN passes through minimum, maximum
// and clamp. Loops over them are compiled per instruction set.

struct Add {
  template <typename T>
  REGRAFT_INLINE static T at(T x, T y) {
    return static_cast<T>(x + y);
  }
};
struct Sub {
  template <typename T>
  REGRAFT_INLINE static T at(T x, T y) {
    return static_cast<T>(x - y);
  }
};
struct Mul {
  template <typename T>
  REGRAFT_INLINE static T at(T x, T y) {
    return static_cast<T>(x * y);
  }
};
// Integer arithmetic wraps.
template <>
REGRAFT_INLINE int64_t Add::at(int64_t x, int64_t y) {
  return static_cast<int64_t>(static_cast<uint64_t>(x) + static_cast<uint64_t>(y));
}
template <>
REGRAFT_INLINE int64_t Sub::at(int64_t x, int64_t y) {
  return static_cast<int64_t>(static_cast<uint64_t>(x) - static_cast<uint64_t>(y));
}
template <>
REGRAFT_INLINE int64_t Mul::at(int64_t x, int64_t y) {
  return static_cast<int64_t>(static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
}

// Integer division: by zero gives 0, where PyTorch raises.
REGRAFT_INLINE bool is_divisible(int64_t x, int64_t y) {
  return y != 0 && !(y == -1 && x == std::numeric_limits<int64_t>::min());
}

struct Div {
  REGRAFT_INLINE static float at(float x, float y) { return x / y; }
};
struct DivTrunc {
  REGRAFT_INLINE static float at(float x, float y) { return __builtin_truncf(x / y); }
  REGRAFT_INLINE static int64_t at(int64_t x, int64_t y) {
    return is_divisible(x, y) ? x / y : y == -1 ? x : 0;
  }
};
struct Fmod {
  static float at(float x, float y) { return std::fmod(x, y); }
  REGRAFT_INLINE static int64_t at(int64_t x, int64_t y) { return is_divisible(x, y) ? x % y : 0; }
};
struct Remainder {
  static float at(float x, float y) {
    const float rest = std::fmod(x, y);
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
  }
  REGRAFT_INLINE static int64_t at(int64_t x, int64_t y) {
    const int64_t rest = Fmod::at(x, y);
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
  }
};
struct DivFloor {
  // As Python: the quotient of x minus its remainder, which is exact, rounded to the nearest.
  static float at(float x, float y) {
    if (y == 0) return x / y;
    const float rest = std::fmod(x, y);
    float quotient = (x - rest) / y;
    if (rest != 0 && (rest < 0) != (y < 0)) quotient -= 1;
    if (quotient == 0) return std::copysign(0.0F, x / y);
    const float floored = std::floor(quotient);
    return quotient - floored > 0.5F ? floored + 1 : floored;
  }
  REGRAFT_INLINE static int64_t at(int64_t x, int64_t y) {
    if (!is_divisible(x, y)) return y == -1 ? x : 0;
    const int64_t quotient = x / y;
    return x % y != 0 && (x < 0) != (y < 0) ? quotient - 1 : quotient;
  }
};
struct Pow {
  static float at(float x, float y) {
    if (y == 2) return x * x;
    if (y == 3) return x * x * x;
    if (y == 0.5F) return std::sqrt(x);
    if (y == -1) return 1 / x;
    return std::pow(x, y);
  }
};
struct Atan2 {
  static float at(float x, float y) { return std::atan2(x, y); }
};
struct Minimum {
  REGRAFT_INLINE static float at(float x, float y) { return ((x < y) | (x != x)) ? x : y; }
  REGRAFT_INLINE static int64_t at(int64_t x, int64_t y) { return x < y ? x : y; }
  REGRAFT_INLINE static bool at(bool x, bool y) { return x & y; }
};
struct Maximum {
  REGRAFT_INLINE static float at(float x, float y) { return ((x > y) | (x != x)) ? x : y; }
  REGRAFT_INLINE static int64_t at(int64_t x, int64_t y) { return x > y ? x : y; }
  REGRAFT_INLINE static bool at(bool x, bool y) { return x | y; }
};
struct Clamp {
  template <typename T>
  REGRAFT_INLINE static T at(T x, T low, T high) {
    const T raised = x < low ? low : x;
    return raised > high ? high : raised;
  }
};
struct Where {
  template <typename T>
  REGRAFT_INLINE static T at(bool condition, T x, T y) {
    return condition ? x : y;
  }
};

struct Eq {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return x == y;
  }
};
struct Ne {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return x != y;
  }
};
struct Lt {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return x < y;
  }
};
struct Le {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return x <= y;
  }
};
struct Gt {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return x > y;
  }
};
struct Ge {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return x >= y;
  }
};
struct LogicalAnd {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return (x != 0) & (y != 0);
  }
};
struct LogicalOr {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return (x != 0) | (y != 0);
  }
};
struct LogicalXor {
  template <typename T>
  REGRAFT_INLINE static bool at(T x, T y) {
    return (x != 0) != (y != 0);
  }
};
struct LogicalNot {
  template <typename T>
  REGRAFT_INLINE static bool at(T x) {
    return x == 0;
  }
};
struct BitAnd {
  template <typename T>
  REGRAFT_INLINE static T at(T x, T y) {
    return x & y;
  }
};
struct BitOr {
  template <typename T>
  REGRAFT_INLINE static T at(T x, T y) {
    return x | y;
  }
};
struct BitXor {
  template <typename T>
  REGRAFT_INLINE static T at(T x, T y) {
    return x ^ y;
  }
};
struct BitNot {
  REGRAFT_INLINE static int64_t at(int64_t x) { return ~x; }
  REGRAFT_INLINE static bool at(bool x) { return !x; }
};

struct Neg {
  REGRAFT_INLINE static float at(float x) { return -x; }
  REGRAFT_INLINE static int64_t at(int64_t x) { return Sub::at(int64_t{0}, x); }
};
struct Abs {
  REGRAFT_INLINE static float at(float x) { return __builtin_fabsf(x); }
  REGRAFT_INLINE static int64_t at(int64_t x) { return x < 0 ? Neg::at(x) : x; }
};
struct Sign {
  REGRAFT_INLINE static float at(float x) { return static_cast<float>((x > 0) - (x < 0)); }
  REGRAFT_INLINE static int64_t at(int64_t x) { return (x > 0) - (x < 0); }
};
struct Square {
  template <typename T>
  REGRAFT_INLINE static T at(T x) {
    return Mul::at(x, x);
  }
};
struct Relu {
  template <typename T>
  REGRAFT_INLINE static T at(T x) {
    return x < 0 ? T{0} : x;
  }
};
// e^x - 1: a series near 0, where the difference would cancel.
REGRAFT_INLINE float fast_expm1(float x) {
  float series = 1.0F + x * (1.0F / 7);
  for (const float n : {6.0F, 5.0F, 4.0F, 3.0F, 2.0F})
    series = 1.0F + x * series * (1.0F / n);
  return __builtin_fabsf(x) < 0.3F ? x * series : fast_exp(x) - 1.0F;
}

struct LeakyRelu {
  REGRAFT_INLINE static float at(float x, float slope) { return x < 0 ? x * slope : x; }
};
struct Elu {
  REGRAFT_INLINE static float at(float x, float alpha) { return x > 0 ? x : alpha * fast_expm1(x); }
};
struct Floor {
  REGRAFT_INLINE static float at(float x) { return __builtin_floorf(x); }
};
struct Ceil {
  REGRAFT_INLINE static float at(float x) { return __builtin_ceilf(x); }
};
struct Round {
  REGRAFT_INLINE static float at(float x) { return __builtin_nearbyintf(x); }
};
struct Trunc {
  REGRAFT_INLINE static float at(float x) { return __builtin_truncf(x); }
};
struct Sqrt {
  REGRAFT_INLINE static float at(float x) { return __builtin_sqrtf(x); }
};
struct Rsqrt {
  REGRAFT_INLINE static float at(float x) { return 1.0F / __builtin_sqrtf(x); }
};
struct Reciprocal {
  REGRAFT_INLINE static float at(float x) { return 1.0F / x; }
};
struct Exp {
  REGRAFT_INLINE static float at(float x) { return fast_exp(x); }
};
struct Erf {
  REGRAFT_INLINE static float at(float x) { return fast_erf(x); }
};
struct Tanh {
  REGRAFT_INLINE static float at(float x) { return fast_tanh(x); }
};
struct Sigmoid {
  REGRAFT_INLINE static float at(float x) { return fast_sigmoid(x); }
};
struct Silu {
  REGRAFT_INLINE static float at(float x) { return x * fast_sigmoid(x); }
};
struct Gelu {
  REGRAFT_INLINE static float at(float x) { return 0.5F * x * (1.0F + fast_erf(x * 0.707106781F)); }
};
struct GeluTanh {
  REGRAFT_INLINE static float at(float x) {
    return 0.5F * x * (1.0F + fast_tanh(0.797884561F * (x + 0.044715F * x * x * x)));
  }
};
struct Hardsigmoid {
  REGRAFT_INLINE static float at(float x) { return Clamp::at(x + 3.0F, 0.0F, 6.0F) / 6.0F; }
};
struct Hardswish {
  REGRAFT_INLINE static float at(float x) { return x * Clamp::at(x + 3.0F, 0.0F, 6.0F) / 6.0F; }
};
struct Mish {
  // x * tanh(log(1 + e^x)): with t = e^x it is x * (t^2 + 2t) / (t^2 + 2t + 2).
  REGRAFT_INLINE static float at(float x) {
    const float t = fast_exp(x > 20.0F ? 20.0F : x);
    const float u = t * (t + 2.0F);
    return x > 20.0F ? x : x * (u / (u + 2.0F));
  }
};
struct Softplus {
  static float at(float x) { return x > 20 ? x : std::log1p(std::exp(x)); }
};
struct IsNan {
  REGRAFT_INLINE static bool at(float x) { return x != x; }
};
struct IsInf {
  REGRAFT_INLINE static bool at(float x) {
    return __builtin_fabsf(x) > std::numeric_limits<float>::max();
  }
};
template <typename To>
struct Convert {
  template <typename From>
  REGRAFT_INLINE static To at(From x) {
    if constexpr (std::is_same_v<From, float> && std::is_same_v<To, bool>) {
      // By bits: in comparisons, flushed denormals are zero.
      return (std::bit_cast<uint32_t>(x) & 0x7fffffffU) != 0;
    } else {
      return convert<To>(x);
    }
  }
};
// Rounded to 16 bits, kept in f32.
struct RoundToBf16 {
  REGRAFT_INLINE static float at(float x) {
    const uint32_t bits = std::bit_cast<uint32_t>(x);
    const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
    return x != x ? x : std::bit_cast<float>(rounded);
  }
};
struct RoundToHalf {
  static float at(float x) { return convert<float>(convert<Half>(x)); }
};
template <typename To>
struct RoundToFloat8 {
  REGRAFT_INLINE static float at(float x) { return to_float(convert<To>(x)); }
};
// To a narrow integer, kept in 64 bits.
template <typename To>
struct Narrow {
  template <typename From>
  REGRAFT_INLINE static int64_t at(From x) {
    return static_cast<int64_t>(convert<To>(x));
  }
};

#define REGRAFT_LIBRARY_FUNCTION(name, function)          \
  struct name {                                           \
    static float at(float x) { return std::function(x); } \
  };
REGRAFT_LIBRARY_FUNCTION(Expm1, expm1)
REGRAFT_LIBRARY_FUNCTION(Log, log)
REGRAFT_LIBRARY_FUNCTION(Log2, log2)
REGRAFT_LIBRARY_FUNCTION(Log10, log10)
REGRAFT_LIBRARY_FUNCTION(Log1p, log1p)
REGRAFT_LIBRARY_FUNCTION(Sin, sin)
REGRAFT_LIBRARY_FUNCTION(Cos, cos)
REGRAFT_LIBRARY_FUNCTION(Tan, tan)
REGRAFT_LIBRARY_FUNCTION(Asin, asin)
REGRAFT_LIBRARY_FUNCTION(Acos, acos)
REGRAFT_LIBRARY_FUNCTION(Atan, atan)
REGRAFT_LIBRARY_FUNCTION(Sinh, sinh)
REGRAFT_LIBRARY_FUNCTION(Cosh, cosh)
REGRAFT_LIBRARY_FUNCTION(Asinh, asinh)
REGRAFT_LIBRARY_FUNCTION(Acosh, acosh)
REGRAFT_LIBRARY_FUNCTION(Atanh, atanh)
#undef REGRAFT_LIBRARY_FUNCTION

}  // namespace regraft::cpu
