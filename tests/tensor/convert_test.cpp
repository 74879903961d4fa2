#include "tensor/convert.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace regraft {
namespace {

// The value of a binary float with these fields, from the definition in IEEE 754.
double value_of(unsigned bits, int exponent_bits, int mantissa_bits) {
  const double sign = (bits >> (exponent_bits + mantissa_bits)) != 0 ? -1 : 1;
  const int exponent = static_cast<int>((bits >> mantissa_bits) & ((1u << exponent_bits) - 1));
  const unsigned mantissa = bits & ((1u << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * INFINITY : std::nan("");
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1u << mantissa_bits), exponent - bias - mantissa_bits);
}

double half_value(unsigned bits) { return value_of(bits, 5, 10); }
double bfloat_value(unsigned bits) { return value_of(bits, 8, 7); }

bool same(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

TEST(Half, EveryPatternHasItsValue) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    ASSERT_TRUE(same(to_float(Half{static_cast<uint16_t>(bits)}), half_value(bits))) << bits;
    ASSERT_TRUE(same(to_float(BFloat16{static_cast<uint16_t>(bits)}), bfloat_value(bits))) << bits;
  }
}

TEST(Half, EveryPatternConvertsBackToItself) {
  for (unsigned i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float half = to_float(Half{bits}), bfloat = to_float(BFloat16{bits});
    if (std::isnan(half)) {
      ASSERT_TRUE(std::isnan(to_float(to_half(half))));
    } else {
      ASSERT_EQ(to_half(half).bits, bits);
    }
    if (std::isnan(bfloat)) {
      ASSERT_TRUE(std::isnan(to_float(to_bfloat16(bfloat))));
    } else {
      ASSERT_EQ(to_bfloat16(bfloat).bits, bits);
    }
  }
}

// Between each two neighbours: the midpoint goes to the even one, everything else to the nearer.
TEST(Half, RoundsToNearestEvenBetweenAllNeighbours) {
  for (unsigned bits = 0; bits < 0x7c00; ++bits) {
    const double low = half_value(bits);
    // Infinity stands where the next number would.
    const double high = bits == 0x7bff ? 65536.0 : half_value(bits + 1);
    const double middle = (low + high) / 2;
    const unsigned even = bits % 2 == 0 ? bits : bits + 1;
    for (const double sign : {1.0, -1.0}) {
      const unsigned mask = sign < 0 ? 0x8000 : 0;
      ASSERT_EQ(to_half(sign * middle).bits, even | mask) << bits;
      ASSERT_EQ(to_half(sign * std::nextafter(middle, 0)).bits, bits | mask) << bits;
      ASSERT_EQ(to_half(sign * std::nextafter(middle, INFINITY)).bits, (bits + 1) | mask) << bits;
    }
  }
  EXPECT_EQ(to_half(1e300).bits, 0x7c00);
  EXPECT_EQ(to_half(-INFINITY).bits, 0xfc00);
  EXPECT_EQ(to_half(-0.0).bits, 0x8000);
}

TEST(BFloat16, RoundsToNearestEvenBetweenAllNeighbours) {
  for (unsigned bits = 0; bits < 0x7f80; ++bits) {
    const auto low = std::bit_cast<float>(bits << 16);
    const auto middle = std::bit_cast<float>((bits << 16) | 0x8000u);
    const unsigned even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(to_bfloat16(low).bits, bits);
    for (const float sign : {1.0f, -1.0f}) {
      const unsigned mask = sign < 0 ? 0x8000 : 0;
      ASSERT_EQ(to_bfloat16(sign * middle).bits, even | mask) << bits;
      ASSERT_EQ(to_bfloat16(sign * std::nextafter(middle, 0.0f)).bits, bits | mask) << bits;
      ASSERT_EQ(to_bfloat16(sign * std::nextafter(middle, INFINITY)).bits, (bits + 1) | mask);
    }
  }
}

TEST(BFloat16, NanStaysNan) {
  for (const uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u, 0xffffffffu}) {
    EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(bits)))));
    EXPECT_TRUE(std::isnan(to_float(to_half(std::bit_cast<float>(bits)))));
  }
}

TEST(Convert, FloatToIntegerTruncatesAndSaturates) {
  EXPECT_EQ(convert<int32_t>(-2.9f), -2);
  EXPECT_EQ(convert<int32_t>(3e9f), INT32_MAX);
  EXPECT_EQ(convert<int32_t>(-3e9), INT32_MIN);
  EXPECT_EQ(convert<int64_t>(9.3e18), INT64_MAX);
  EXPECT_EQ(convert<int64_t>(-1e300), INT64_MIN);
  EXPECT_EQ(convert<uint8_t>(-1.0f), 0);
  EXPECT_EQ(convert<uint8_t>(256.0), 255);
  EXPECT_EQ(convert<int8_t>(-128.5), -128);
  EXPECT_EQ(convert<int16_t>(std::nanf("")), 0);
  EXPECT_EQ(convert<int64_t>(to_half(INFINITY)), INT64_MAX);
}

TEST(Convert, BoolIsNotZero) {
  EXPECT_TRUE(convert<bool>(0.1f));
  EXPECT_TRUE(convert<bool>(std::nan("")));
  EXPECT_FALSE(convert<bool>(-0.0));
  EXPECT_TRUE(convert<bool>(int64_t{256}));
  EXPECT_TRUE(convert<bool>(std::complex<float>(0, 1)));
  EXPECT_FALSE(convert<bool>(BFloat16{0x8000}));
  EXPECT_EQ(convert<float>(true), 1.0f);
  EXPECT_EQ(convert<Half>(true).bits, 0x3c00);
}

TEST(Convert, ComplexKeepsOrDropsItsImaginaryPart) {
  const std::complex<double> z(1.5, -2);
  EXPECT_EQ(convert<std::complex<float>>(z), std::complex<float>(1.5f, -2));
  EXPECT_EQ(convert<double>(z), 1.5);
  EXPECT_EQ(convert<int8_t>(z), 1);
  EXPECT_EQ(convert<std::complex<double>>(to_half(0.5)), std::complex<double>(0.5, 0));
  EXPECT_EQ(convert<BFloat16>(z).bits, to_bfloat16(1.5f).bits);
}

TEST(Convert, DoublesReachHalfThroughFloat) {
  // In one rounding this would be the next half above 1.
  EXPECT_EQ(convert<Half>(1 + 0x1p-11 + 0x1p-40).bits, to_half(1).bits);
  EXPECT_NE(to_half(1 + 0x1p-11 + 0x1p-40).bits, to_half(1).bits);
}

TEST(Convert, IntegersWrap) {
  EXPECT_EQ(convert<uint8_t>(int32_t{257}), 1);
  EXPECT_EQ(convert<int8_t>(uint8_t{200}), -56);
}

TEST(Visit, GivesTheStorageTypeOfEveryDtype) {
  for (int id = 0; id < kDTypeCount; ++id) {
    const auto dtype = static_cast<DType>(id);
    EXPECT_EQ(visit(dtype, [](auto x) { return sizeof x; }), item_size(dtype));
  }
  EXPECT_THROW(visit(static_cast<DType>(99), [](auto) {}), Error);
}

}  // namespace
}  // namespace regraft
