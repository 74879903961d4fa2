#pragma once

#include <bit>
#include <cstdint>

#include "backends/cpu/run/isa.h"
#include "tensor/convert.h"

namespace regraft::cpu {

// Branch-free f32 functions for loops that the compiler vectorises; always inlined into the body
// that isa.h compiles per instruction set. Polynomials are interpolations at Chebyshev nodes;
// errors were measured against f64 over all of the stated range
// (tests/backends/cpu/vector_math_test.cpp).

// e^x. 2 ulp; 0 below -87.3 (no subnormal results), infinity above 88.7; NaN stays NaN.
REGRAFT_INLINE float fast_exp(float x) {
  constexpr float kLog2e = 1.44269504f, kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer.
  const float clamped = x < -87.3f ? -87.3f : (x > 88.8f ? 88.8f : x);
  const float shifted = clamped * kLog2e + kMagic;
  const float n = shifted - kMagic;
  const float r = (clamped - n * kLn2High) - n * kLn2Low;
  float p = 0.00139261761f;
  p = p * r + 0.00836317307f;
  p = p * r + 0.0416665547f;
  p = p * r + 0.166665770f;
  p = p * r + 0.5f;
  p = (p * r) * r + r;
  // 2^n in two factors, because n = 128 has no float of its own.
  const int32_t k = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kMagic);
  const int32_t half = k >> 1;
  const float scale_a = std::bit_cast<float>((half + 127) << 23);
  const float scale_b = std::bit_cast<float>((k - half + 127) << 23);
  const float value = (p * scale_a + scale_a) * scale_b;
  const float low = x < -87.3f ? 0.0f : value;
  return x == x ? low : x;
}

// 1 / (1 + e^-x). 3 ulp.
REGRAFT_INLINE float fast_sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

// tanh(x): odd polynomial up to 0.625, then through e^2x. 3 ulp.
REGRAFT_INLINE float fast_tanh(float x) {
  const float a = __builtin_fabsf(x);
  const float u = x * x;
  float p = -0.00565713518f;
  p = p * u + 0.0205881915f;
  p = p * u - 0.0537201077f;
  p = p * u + 0.133311141f;
  p = p * u - 0.333332599f;
  p = p * u;
  const float small = x + x * p;
  const float e = fast_exp(2.0f * a);
  const float large = 1.0f - 2.0f / (e + 1.0f);
  const float out = a < 0.625f ? small : __builtin_copysignf(large, x);
  return x == x ? out : x;
}

// erf(x): odd polynomial up to 1, then 1 - e^q(|x|). 4 ulp.
REGRAFT_INLINE float fast_erf(float x) {
  const float a = __builtin_fabsf(x);
  const float u = x * x;
  float p = -9.66704457e-06f;
  p = p * u + 0.000112659590f;
  p = p * u - 0.000848408041f;
  p = p * u + 0.00522103181f;
  p = p * u - 0.0268654307f;
  p = p * u + 0.112837825f;
  p = p * u - 0.376126385f;
  p = p * u;
  const float small = x * 1.12837917f + x * p;
  const float t = a > 4.0f ? 4.0f : a;
  float q = 1.63715140e-06f;
  q = q * t - 4.60580427e-05f;
  q = q * t + 0.000596805626f;
  q = q * t - 0.00475959629f;
  q = q * t + 0.0264211360f;
  q = q * t - 0.110080083f;
  q = q * t - 0.631826052f;
  q = q * t - 1.13023343f;
  q = q * t + 0.000320138050f;
  const float large = 1.0f - fast_exp(q);
  const float out = a < 1.0f ? small : __builtin_copysignf(large, x);
  return x == x ? out : x;
}

REGRAFT_INLINE float load_float(float x) { return x; }
REGRAFT_INLINE float load_float(BFloat16 x) {
  return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16);
}
REGRAFT_INLINE void store_float(float* to, float x) { *to = x; }
// As to_bfloat16, without a branch.
REGRAFT_INLINE void store_float(BFloat16* to, float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet = (bits >> 16) | 0x0040u;
  to->bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

// The version of Body<T>::run(Args...) for this machine and elements of f32 or bf16.
template <template <typename> class Body, typename... Args>
auto select_float(DType type) {
  return type == DType::F32 ? select<Body<float>, Args...>(isa())
                            : select<Body<BFloat16>, Args...>(isa());
}
template <template <typename, typename> class Body, typename... Args>
auto select_floats(DType from, DType to) {
  const bool is_wide = to == DType::F32;
  if (from == DType::F32) {
    return is_wide ? select<Body<float, float>, Args...>(isa())
                   : select<Body<float, BFloat16>, Args...>(isa());
  }
  return is_wide ? select<Body<BFloat16, float>, Args...>(isa())
                 : select<Body<BFloat16, BFloat16>, Args...>(isa());
}

}  // namespace regraft::cpu
