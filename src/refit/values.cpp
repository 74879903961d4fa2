#include "refit/values.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/parallel.h"
#include "refit/stream_copy.h"
#include "tensor/convert.h"

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

struct FloatFormat {
  int64_t width = 0;  // Bytes of one real number; 0: cannot be non-finite.
  uint64_t (*count)(const std::byte*, int64_t) = nullptr;
};

FloatFormat format_of(DType dtype) {
  const auto f32 = [](const std::byte* data, int64_t n) {
    return count_chunk<uint32_t>(data, n, 0x7f800000u);
  };
  const auto f64 = [](const std::byte* data, int64_t n) {
    return count_chunk<uint64_t>(data, n, 0x7ff0000000000000u);
  };
  switch (dtype) {
    case DType::F16:
      return {2, [](const std::byte* data, int64_t n) {
                return count_chunk<uint16_t>(data, n, 0x7c00u);
              }};
    case DType::BF16:
      return {2, [](const std::byte* data, int64_t n) {
                return count_chunk<uint16_t>(data, n, 0x7f80u);
              }};
    case DType::F32:
    case DType::C64:
      return {4, f32};
    case DType::F64:
    case DType::C128:
      return {8, f64};
    default:
      return {};
  }
}

// Pieces small enough to be in the first-level cache when they are read a second time.
constexpr int64_t kPiece = 1 << 13;

uint64_t scan(const TensorView& tensor, std::byte* to) {
  const FloatFormat format = format_of(tensor.dtype);
  const auto bytes = static_cast<int64_t>(tensor.bytes());
  const auto* from = tensor.as<std::byte>();
  std::atomic<uint64_t> total{0};
  base::parallel_for((bytes + kPiece - 1) / kPiece, 32, [&](int64_t begin, int64_t end) {
    uint64_t found = 0;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t at = piece * kPiece, size = std::min(kPiece, bytes - at);
      if (format.count != nullptr) found += format.count(from + at, size / format.width);
      if (to != nullptr) stream_copy(to + at, from + at, static_cast<size_t>(size));
    }
    if (to != nullptr) finish_streaming();
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
