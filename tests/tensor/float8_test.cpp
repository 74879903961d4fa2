#include "tensor/float8.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "tensor/convert.h"

namespace regraft {
namespace {

// The formats as OFP8 (Open Compute Project, 2023) states them, in exact arithmetic.
struct Format {
  int mantissa_bits, bias;
  int largest;   // Code of the greatest number.
  int overflow;  // What greater numbers become: the greatest, or infinity behind it.

  double value(int code) const {
    const int exponent = code >> mantissa_bits, mantissa = code & ((1 << mantissa_bits) - 1);
    if (exponent == 0) return std::ldexp(mantissa, 1 - bias - mantissa_bits);
    return std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
  }

  // The nearest code, the even one of two. The number behind the greatest, which the format has no
  // room for, takes part.
  int round(float x) const {
    const double magnitude = std::fabs(static_cast<double>(x));
    int code = 0;
    while (code <= largest && value(code + 1) <= magnitude)
      ++code;
    if (code <= largest && !std::isinf(magnitude)) {
      const double below = magnitude - value(code), above = value(code + 1) - magnitude;
      if (above < below || (above == below && code % 2 == 1)) ++code;
    }
    if (code > largest) code = overflow;
    return std::isnan(x) ? 0x7f : code;
  }
};

constexpr Format kE4M3FN{3, 7, 0x7e, 0x7e};
constexpr Format kE5M2{2, 15, 0x7b, 0x7c};

template <typename T>
constexpr const Format& kFormat = std::is_same_v<T, Float8E4M3FN> ? kE4M3FN : kE5M2;

template <typename T>
class Float8 : public testing::Test {
 protected:
  static void check(float x) {
    const int want = kFormat<T>.round(x) | (std::signbit(x) ? 0x80 : 0);
    ASSERT_EQ(convert<T>(x).bits, want) << x;
  }
};
using Types = testing::Types<Float8E4M3FN, Float8E5M2>;
TYPED_TEST_SUITE(Float8, Types);

TYPED_TEST(Float8, EveryCodeHasItsValue) {
  const Format& format = kFormat<TypeParam>;
  for (int code = 0; code < 256; ++code) {
    const TypeParam x{static_cast<uint8_t>(code)};
    const float have = to_float(x);
    const int magnitude = code & 0x7f;
    ASSERT_EQ(std::signbit(have), code >= 0x80) << code;
    if (magnitude <= format.largest) {
      ASSERT_EQ(std::fabs(have), format.value(magnitude)) << code;
      ASSERT_EQ(convert<TypeParam>(have).bits, code);
      ASSERT_EQ(convert<double>(x), have);
      ASSERT_EQ(to_float(convert<Half>(x)), have) << "16 bits hold all of them";
      ASSERT_EQ(to_float(convert<BFloat16>(x)), have);
      ASSERT_EQ(convert<int64_t>(x), static_cast<int64_t>(have));
      ASSERT_EQ(convert<bool>(x), magnitude != 0);
    } else if (std::is_same_v<TypeParam, Float8E5M2> && magnitude == 0x7c) {
      ASSERT_TRUE(std::isinf(have)) << code;
      ASSERT_EQ(convert<TypeParam>(have).bits, code);
    } else {
      ASSERT_TRUE(std::isnan(have)) << code;
      ASSERT_EQ(std::bit_cast<uint32_t>(have) & 0x00400000u, 0x00400000u) << "quiet";
      ASSERT_EQ(convert<TypeParam>(have).bits, code | 0x7f);
      ASSERT_TRUE(convert<bool>(x));
    }
  }
}

TYPED_TEST(Float8, RoundsEveryNumberOf16Bits) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const BFloat16 bfloat{static_cast<uint16_t>(bits)};
    this->check(to_float(half));
    this->check(to_float(bfloat));
    ASSERT_EQ(convert<TypeParam>(half).bits, convert<TypeParam>(to_float(half)).bits);
    ASSERT_EQ(convert<TypeParam>(bfloat).bits, convert<TypeParam>(to_float(bfloat)).bits);
  }
}

TYPED_TEST(Float8, RoundsFloatsAroundEveryTie) {
  const Format& format = kFormat<TypeParam>;
  for (int code = 0; code <= format.largest; ++code) {
    const auto tie = static_cast<float>((format.value(code) + format.value(code + 1)) / 2);
    for (const float x : {tie, std::nextafter(tie, 0.0f), std::nextafter(tie, INFINITY)}) {
      this->check(x);
      this->check(-x);
    }
  }
  std::mt19937 random(7);
  for (int i = 0; i < 300'000; ++i)
    this->check(std::bit_cast<float>(static_cast<uint32_t>(random())));
}

TYPED_TEST(Float8, OtherTypesGoThroughFloat) {
  // In one rounding this would be the number above 1.
  const double above_tie = 1 + std::ldexp(1.0, -kFormat<TypeParam>.mantissa_bits - 1) + 0x1p-40;
  EXPECT_EQ(to_float(convert<TypeParam>(above_tie)), 1);
  EXPECT_EQ(to_float(convert<TypeParam>(std::complex<double>(-3, 9))), -3);
  EXPECT_EQ(to_float(convert<TypeParam>(true)), 1);
  EXPECT_EQ(to_float(convert<TypeParam>(int64_t{-17})), -16);
  EXPECT_EQ(to_float(convert<TypeParam>(uint8_t{200})), 192);
  EXPECT_EQ(convert<TypeParam>(INT64_MAX).bits, kFormat<TypeParam>.overflow);
}

TEST(Float8Pair, Converts) {
  EXPECT_EQ(to_float(convert<Float8E4M3FN>(convert<Float8E5M2>(57344))), 448);
  EXPECT_EQ(to_float(convert<Float8E5M2>(convert<Float8E4M3FN>(1.125))), 1);
  EXPECT_EQ(convert<Float8E4M3FN>(Float8E5M2{0xfd}).bits, 0xff);
}

}  // namespace
}  // namespace regraft
