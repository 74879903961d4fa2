// The kernels' conversions of 8-bit floats, compiled for the host, are those of the host.
#include "tensor/float8.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include <gtest/gtest.h>

namespace device {

using i64 = long long;
using u32 = uint32_t;
using u8 = uint8_t;
using std::min;
inline u32 __float_as_uint(float x) { return std::bit_cast<u32>(x); }
inline float __uint_as_float(u32 x) { return std::bit_cast<float>(x); }
template <typename T>
struct ComputeOf;
template <typename C, typename T>
struct Convert {
  static C of(T x) { return static_cast<C>(x); }
};

#define __device__
#include "backends/cuda/run/cu/float8.cu"
#undef __device__

}  // namespace device

namespace regraft::cuda {
namespace {

TEST(Float8, CodesWidenAsOnTheHost) {
  for (int code = 0; code < 256; ++code) {
    const auto bits = static_cast<uint8_t>(code);
    const auto same = [&](float a, float b) {
      return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    };
    EXPECT_TRUE(same(device::widen(device::f8e4m3fn{bits}), to_float(Float8E4M3FN{bits}))) << code;
    EXPECT_TRUE(same(device::widen(device::f8e5m2{bits}), to_float(Float8E5M2{bits}))) << code;
  }
}

TEST(Float8, FloatsNarrowAsOnTheHost) {
  // All exponents, with mantissas whose upper 12 bits are any and whose lower ones decide ties.
  for (uint32_t upper = 0; upper < (1u << 20); ++upper) {
    for (const uint32_t lower : {0x000u, 0x001u, 0xfffu}) {
      const float x = std::bit_cast<float>(upper << 12 | lower);
      ASSERT_EQ(device::narrow_f8e4m3fn(x).bits, to_float8_e4m3fn(x).bits) << x;
      ASSERT_EQ(device::narrow_f8e5m2(x).bits, to_float8_e5m2(x).bits) << x;
    }
  }
}

TEST(Float8, OtherTypesGoThroughFloat) {
  using device::Convert, device::f8e4m3fn, device::f8e5m2;
  EXPECT_EQ((Convert<f8e4m3fn, double>::of(1.0625 + 1e-12).bits), 0x38);
  EXPECT_EQ((Convert<f8e5m2, double>::of(1.125 + 1e-12).bits), 0x3c);
  EXPECT_EQ((Convert<f8e4m3fn, device::i64>::of(-17).bits), 0xd8);
  EXPECT_EQ((Convert<f8e5m2, bool>::of(true).bits), 0x3c);
  EXPECT_EQ((Convert<f8e4m3fn, f8e5m2>::of({0x7c}).bits), 0x7e);
  EXPECT_EQ((Convert<device::i64, f8e4m3fn>::of({0xd8})), -16);
}

}  // namespace
}  // namespace regraft::cuda
