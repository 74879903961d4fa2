#pragma once

#include <bit>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/fail.h"
#include "regraft/tensor.h"
#include "tensor/float8.h"

namespace regraft {

// Storage types of the 16-bit floats: no arithmetic, only conversion.
struct BFloat16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

inline float to_float(BFloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }

// Round to nearest even; NaN stays NaN (quiet), overflow becomes infinity.
inline BFloat16 to_bfloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return {static_cast<uint16_t>((bits >> 16) | 0x0040u)};
  }
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

inline float to_float(Half x) {
  const uint32_t sign = uint32_t{x.bits & 0x8000u} << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (magnitude << 13));
  if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
  // Subnormal: magnitude * 2^-24 is exact in f32.
  const float value = static_cast<float>(magnitude) * 0x1p-24f;
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(value));
}

// Round to nearest even from the double, in one rounding.
inline Half to_half(double x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::fabs(x);
  if (std::isnan(x)) return {static_cast<uint16_t>(sign | 0x7e00)};
  if (magnitude >= 65520.0) return {static_cast<uint16_t>(sign | 0x7c00)};
  if (magnitude < 0x1p-14) {
    // nearbyint rounds half to even in the default mode; 1024 carries into the smallest normal.
    return {
        static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24)))};
  }
  int exponent = 0;
  const double fraction = std::frexp(magnitude, &exponent);                        // [0.5, 1)
  const auto mantissa = static_cast<uint32_t>(std::nearbyint(fraction * 2048.0));  // [1024, 2048]
  return {static_cast<uint16_t>(sign | (((exponent + 13) << 10) + mantissa))};
}

// convert<To>(from): the conversion PyTorch's `.to(dtype)` makes. Floating to integral truncates
// (out of range is the target's minimum or maximum, NaN is 0: PyTorch leaves both undefined);
// anything to bool is "not zero"; complex to real drops the imaginary part.
template <typename T>
inline constexpr bool kIsComplex = false;
template <typename T>
inline constexpr bool kIsComplex<std::complex<T>> = true;
template <typename T>
inline constexpr bool kIsFloat8 = std::is_same_v<T, Float8E4M3FN> || std::is_same_v<T, Float8E5M2>;
// Storage types of floats.
template <typename T>
inline constexpr bool kIsNarrow =
    std::is_same_v<T, BFloat16> || std::is_same_v<T, Half> || kIsFloat8<T>;

template <typename To, typename From>
To convert(From from) {
  if constexpr (std::is_same_v<To, From>) {
    return from;
  } else if constexpr (kIsNarrow<From>) {
    return convert<To>(to_float(from));
  } else if constexpr (kIsComplex<To>) {
    if constexpr (kIsComplex<From>) {
      return To(static_cast<typename To::value_type>(from.real()),
                static_cast<typename To::value_type>(from.imag()));
    } else {
      return To(static_cast<typename To::value_type>(from), 0);
    }
  } else if constexpr (kIsComplex<From>) {
    if constexpr (std::is_same_v<To, bool>) {
      return from.real() != 0 || from.imag() != 0;
    } else {
      return convert<To>(from.real());
    }
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return to_bfloat16(static_cast<float>(from));
  } else if constexpr (std::is_same_v<To, Half>) {
    // Through float as PyTorch does: a double is rounded twice.
    return to_half(static_cast<float>(from));
  } else if constexpr (std::is_same_v<To, Float8E4M3FN>) {
    return to_float8_e4m3fn(static_cast<float>(from));  // Through float, too.
  } else if constexpr (std::is_same_v<To, Float8E5M2>) {
    return to_float8_e5m2(static_cast<float>(from));
  } else if constexpr (std::is_same_v<To, bool>) {
    return from != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (std::isnan(from)) return To(0);
    if (from <= static_cast<From>(std::numeric_limits<To>::min())) {
      return std::numeric_limits<To>::min();
    }
    if (from >= static_cast<From>(std::numeric_limits<To>::max())) {
      return std::numeric_limits<To>::max();
    }
    return static_cast<To>(from);
  } else {
    return static_cast<To>(from);
  }
}

// Calls f(T{}) with the C++ type that stores `dtype`, which is one that ops calculate with.
template <typename F>
decltype(auto) visit_computed(DType dtype, F&& f) {
  switch (dtype) {
    case DType::Bool:
      return f(bool{});
    case DType::U8:
      return f(uint8_t{});
    case DType::I8:
      return f(int8_t{});
    case DType::I16:
      return f(int16_t{});
    case DType::I32:
      return f(int32_t{});
    case DType::I64:
      return f(int64_t{});
    case DType::F16:
      return f(Half{});
    case DType::BF16:
      return f(BFloat16{});
    case DType::F32:
      return f(float{});
    case DType::F64:
      return f(double{});
    case DType::C64:
      return f(std::complex<float>{});
    case DType::C128:
      return f(std::complex<double>{});
    default:
      break;
  }
  base::fail("tensor", ErrorCode::Internal, "no calculating with dtype id ",
             static_cast<int>(dtype));
}

// Calls f(T{}) with the C++ type that stores `dtype`.
template <typename F>
decltype(auto) visit(DType dtype, F&& f) {
  if (dtype == DType::F8E4M3FN) return f(Float8E4M3FN{});
  if (dtype == DType::F8E5M2) return f(Float8E5M2{});
  return visit_computed(dtype, std::forward<F>(f));
}

}  // namespace regraft
