#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace regraft {

// Storage types of the 8-bit floats (OFP8): no arithmetic, only conversion. Branches are choices of
// values, so that loops over the functions below are vectorised.
struct Float8E4M3FN {  // 4 bits of exponent, 3 of mantissa; no infinity, S.1111.111 is NaN.
  uint8_t bits;
};
struct Float8E5M2 {  // 5 bits of exponent, 2 of mantissa: the upper half of an f16.
  uint8_t bits;
};

// Exact. NaN stays NaN of its sign, and quiet.
inline float to_float(Float8E4M3FN x) {
  const uint32_t sign = uint32_t{x.bits & 0x80u} << 24, magnitude = x.bits & 0x7fu;
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-9f;
  uint32_t bits = (magnitude << 20) + (120u << 23);
  bits = magnitude < 0x08u ? std::bit_cast<uint32_t>(subnormal) : bits;
  bits = magnitude == 0x7fu ? 0x7ff00000u : bits;
  return std::bit_cast<float>(sign | bits);
}
inline float to_float(Float8E5M2 x) {
  const uint32_t sign = uint32_t{x.bits & 0x80u} << 24, magnitude = x.bits & 0x7fu;
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-16f;
  uint32_t bits = (magnitude << 21) + (112u << 23);
  bits = magnitude < 0x04u ? std::bit_cast<uint32_t>(subnormal) : bits;
  bits = magnitude >= 0x7cu ? 0x7f800000u | (magnitude << 21) : bits;
  bits = magnitude > 0x7cu ? bits | 0x00400000u : bits;
  return std::bit_cast<float>(sign | bits);
}

// The code of a float with `Digits` bits of mantissa and exponents `Bias` below a float's, rounded
// to nearest even; `Largest` is what overflow becomes. Every NaN becomes S.111..1.
template <uint32_t Digits, uint32_t Bias, uint32_t Largest>
uint8_t narrow_to_float8(float x) {
  constexpr uint32_t kCut = 23 - Digits, kBelowHalf = (1u << (kCut - 1)) - 1;
  // Its last bit is worth the smallest number: adding it rounds to subnormals.
  constexpr uint32_t kRound = (Bias + 24 - Digits) << 23;
  const uint32_t bits = std::bit_cast<uint32_t>(x), magnitude = bits & 0x7fffffffu;
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + std::bit_cast<float>(kRound)) -
      kRound;
  uint32_t code = (magnitude - (Bias << 23) + kBelowHalf + ((magnitude >> kCut) & 1u)) >> kCut;
  code = magnitude < ((Bias + 1) << 23) ? subnormal : std::min(code, Largest);
  code = magnitude > 0x7f800000u ? 0x7fu : code;
  return static_cast<uint8_t>(code | ((bits >> 24) & 0x80u));
}

// Overflow and infinity become the largest number, 448, as in PyTorch since its #178817 (before:
// NaN).
inline Float8E4M3FN to_float8_e4m3fn(float x) { return {narrow_to_float8<3, 120, 0x7e>(x)}; }
// Overflow becomes infinity.
inline Float8E5M2 to_float8_e5m2(float x) { return {narrow_to_float8<2, 112, 0x7c>(x)}; }

}  // namespace regraft
