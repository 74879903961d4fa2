#include "refit/values.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/parallel.h"
#include "base/stream_copy.h"
#include "tensor/convert.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace regraft::refit {
namespace {

// Floats are looked at as integers: all exponent bits set is NaN or infinity.
template <typename Bits>
uint64_t count_chunk(const std::byte* data, int64_t count, Bits exponent) {
  // A block of fixed size, counted in the elements' own width, is what compilers vectorise.
  constexpr int64_t kBlock = 128;
  uint64_t total = 0;
  int64_t i = 0;
  Bits block[kBlock];
  for (; i + kBlock <= count; i += kBlock) {
    std::memcpy(block, data + i * static_cast<int64_t>(sizeof(Bits)), sizeof block);
    Bits found = 0;
    for (int64_t j = 0; j < kBlock; ++j) {
      found = static_cast<Bits>(found + ((block[j] & exponent) == exponent ? 1 : 0));
    }
    total += found;
  }
  for (; i < count; ++i) {
    std::memcpy(block, data + i * static_cast<int64_t>(sizeof(Bits)), sizeof(Bits));
    total += (block[0] & exponent) == exponent ? 1 : 0;
  }
  return total;
}

template <typename Bits>
uint64_t count_and_copy_piece(const std::byte* from, std::byte* to, int64_t count, Bits exponent) {
  const uint64_t found = count_chunk<Bits>(from, count, exponent);
  base::stream_copy(to, from, static_cast<size_t>(count) * sizeof(Bits));
  return found;
}

#if defined(__x86_64__)
// One loop: the loads serve both, and counting hides behind the memory.
template <typename Bits>
  requires(sizeof(Bits) == 2 || sizeof(Bits) == 4)
uint64_t count_and_copy_piece(const std::byte* from, std::byte* to, int64_t count, Bits exponent) {
  constexpr bool kIsShort = sizeof(Bits) == 2;
  constexpr int64_t kPerLine = 64 / sizeof(Bits);
  const __m128i mask = kIsShort ? _mm_set1_epi16(static_cast<int16_t>(exponent))
                                : _mm_set1_epi32(static_cast<int32_t>(exponent));
  __m128i found = _mm_setzero_si128();  // Minus one for each, so that adding the comparison counts.
  const int64_t lines = count / kPerLine;
  for (int64_t line = 0; line < lines; ++line) {
    const auto* in = reinterpret_cast<const __m128i*>(from + line * 64);
    auto* out = reinterpret_cast<__m128i*>(to + line * 64);
    for (int i = 0; i < 4; ++i) {
      const __m128i x = _mm_loadu_si128(in + i);
      const __m128i bits = _mm_and_si128(x, mask);
      found = kIsShort ? _mm_add_epi16(found, _mm_cmpeq_epi16(bits, mask))
                       : _mm_add_epi32(found, _mm_cmpeq_epi32(bits, mask));
      _mm_stream_si128(out + i, x);
    }
  }
  using Signed = std::make_signed_t<Bits>;
  Signed lanes[16 / sizeof(Bits)];
  std::memcpy(lanes, &found, sizeof lanes);
  uint64_t total = 0;
  for (const Signed lane : lanes)
    total += static_cast<uint64_t>(-lane);
  const int64_t done = lines * kPerLine, rest = count - done;
  const auto at = static_cast<size_t>(done) * sizeof(Bits);
  base::stream_copy(to + at, from + at, static_cast<size_t>(rest) * sizeof(Bits));
  return total + count_chunk<Bits>(from + at, rest, exponent);
}
#endif

struct FloatFormat {
  int64_t width = 0;  // Bytes of one real number; 0: cannot be non-finite.
  uint64_t (*count)(const std::byte* from, int64_t count) = nullptr;
  // Of a piece: no lane of its counters may overflow.
  uint64_t (*count_and_copy)(const std::byte* from, std::byte* to, int64_t count) = nullptr;
};

template <typename Bits, Bits kExponent>
constexpr FloatFormat format() {
  return {sizeof(Bits),
          [](const std::byte* from, int64_t n) { return count_chunk<Bits>(from, n, kExponent); },
          [](const std::byte* from, std::byte* to, int64_t n) {
            return count_and_copy_piece<Bits>(from, to, n, kExponent);
          }};
}

FloatFormat format_of(DType dtype) {
  switch (dtype) {
    case DType::F8E4M3FN:  // Whose only exception has all mantissa bits, too.
      return format<uint8_t, 0x7f>();
    case DType::F8E5M2:
      return format<uint8_t, 0x7c>();
    case DType::F16:
      return format<uint16_t, 0x7c00>();
    case DType::BF16:
      return format<uint16_t, 0x7f80>();
    case DType::F32:
    case DType::C64:
      return format<uint32_t, 0x7f800000>();
    case DType::F64:
    case DType::C128:
      return format<uint64_t, 0x7ff0000000000000>();
    default:
      return {};
  }
}

// Pieces small enough to be in the first-level cache when they are read a second time.
constexpr int64_t kPiece = 1 << 13;

uint64_t scan_piece(const FloatFormat& format, const std::byte* from, std::byte* to, int64_t size) {
  if (format.count == nullptr) {
    base::stream_copy(to, from, static_cast<size_t>(size));
    return 0;
  }
  const int64_t count = size / format.width;
  return to == nullptr ? format.count(from, count) : format.count_and_copy(from, to, count);
}

uint64_t scan(const TensorView& tensor, std::byte* to) {
  const FloatFormat format = format_of(tensor.dtype);
  const auto bytes = static_cast<int64_t>(tensor.bytes());
  const auto* from = tensor.as<std::byte>();
  std::atomic<uint64_t> total{0};
  base::parallel_for((bytes + kPiece - 1) / kPiece, 32, [&](int64_t begin, int64_t end) {
    uint64_t found = 0;
    for (int64_t at = begin * kPiece, last = std::min(end * kPiece, bytes); at < last;
         at += kPiece) {
      found += scan_piece(format, from + at, to == nullptr ? nullptr : to + at,
                          std::min(kPiece, last - at));
    }
    if (to != nullptr) base::finish_streaming();
    total += found;
  });
  return total;
}

}  // namespace

uint64_t count_non_finite(const TensorView& tensor) {
  return format_of(tensor.dtype).count == nullptr ? 0 : scan(tensor, nullptr);
}

uint64_t copy_and_count_non_finite(const TensorView& from, void* to) {
  return scan(from, static_cast<std::byte*>(to));
}

OutOfBounds find_out_of_bounds(const TensorView& tensor, int64_t bound) {
  OutOfBounds found;
  visit(tensor.dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_integral_v<T>) {
      const T* data = tensor.as<T>();
      for (int64_t i = 0, count = tensor.count(); i < count; ++i) {
        const auto value = static_cast<int64_t>(data[i]);
        if (value >= 0 && value < bound) continue;
        found = {i, value};
        return;
      }
    }
  });
  return found;
}

}  // namespace regraft::refit
