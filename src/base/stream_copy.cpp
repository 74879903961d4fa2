#include "base/stream_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/parallel.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace regraft::base {

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

namespace {

// About what is left of a second-level cache; smaller blocks are wanted in it.
constexpr size_t kStreamed = size_t{1} << 19;
constexpr size_t kPiece = size_t{1} << 16;

void copy_piece(const BlockCopy& block, size_t first) {
  const size_t part = std::min(kPiece, block.bytes - first);
  if (block.bytes >= kStreamed) {
    stream_copy(block.to + first, block.from + first, part);
    finish_streaming();
  } else {
    std::memcpy(block.to + first, block.from + first, part);
  }
}

}  // namespace

BlockCopies::BlockCopies(std::vector<BlockCopy> blocks) : blocks_(std::move(blocks)) {
  for (size_t b = 0; b < blocks_.size(); ++b) {
    for (size_t first = 0; first < blocks_[b].bytes; first += kPiece)
      pieces_.emplace_back(b, first);
  }
}

void BlockCopies::run() const {
  parallel_for(static_cast<int64_t>(pieces_.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [block, first] = pieces_[static_cast<size_t>(i)];
      copy_piece(blocks_[block], first);
    }
  });
}

}  // namespace regraft::base
