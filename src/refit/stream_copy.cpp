#include "refit/stream_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/parallel.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace regraft::refit {

void stream_copy(void* to, const void* from, size_t bytes) {
#if defined(__x86_64__)
  auto* out = static_cast<__m128i*>(to);
  const auto* in = static_cast<const __m128i*>(from);
  const size_t lines = bytes / 64;
  for (size_t i = 0; i < lines; ++i, in += 4, out += 4) {
    const __m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
    const __m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);
    _mm_stream_si128(out, a);
    _mm_stream_si128(out + 1, b);
    _mm_stream_si128(out + 2, c);
    _mm_stream_si128(out + 3, d);
  }
  const size_t done = lines * 64;
#else
  const size_t done = 0;
#endif
  if (bytes > done) {
    std::memcpy(static_cast<std::byte*>(to) + done, static_cast<const std::byte*>(from) + done,
                bytes - done);
  }
}

void finish_streaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

void copy_block(void* to, const void* from, size_t bytes) {
  // About what is left of a second-level cache; smaller blocks are wanted in it.
  constexpr size_t kStreamed = size_t{1} << 19;
  constexpr int64_t kPiece = int64_t{1} << 16;
  auto* out = static_cast<std::byte*>(to);
  const auto* in = static_cast<const std::byte*>(from);
  const auto size = static_cast<int64_t>(bytes);
  base::parallel_for((size + kPiece - 1) / kPiece, 4, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kPiece;
    const auto part = static_cast<size_t>(std::min(end * kPiece, size) - first);
    if (bytes >= kStreamed) {
      stream_copy(out + first, in + first, part);
      finish_streaming();
    } else {
      std::memcpy(out + first, in + first, part);
    }
  });
}

}  // namespace regraft::refit
