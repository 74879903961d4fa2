#include "base/block_digest.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/parallel.h"

namespace regraft::base {
namespace {

// Large enough that a piece is read at memory speed, small enough to spread one embedding table.
constexpr size_t kPiece = size_t{1} << 20;

size_t piece_count(const Block& block) {
  return std::max<size_t>(1, block.bytes / kPiece + (block.bytes % kPiece != 0));
}

Digest digest_of(const void* data, size_t bytes) {
  const XXH128_hash_t hash = XXH3_128bits(data, bytes);
  return {hash.low64, hash.high64};
}

}  // namespace

std::vector<Digest> digests(std::span<const Block> blocks) {
  std::vector<Block> pieces;
  for (const Block& block : blocks) {
    const auto* bytes = static_cast<const std::byte*>(block.data);
    for (size_t begin = 0, i = 0; i < piece_count(block); ++i, begin += kPiece)
      pieces.push_back({bytes + begin, std::min(kPiece, block.bytes - begin)});
  }
  std::vector<Digest> hashes(pieces.size());
  // Waking a team costs more than hashing a few pieces.
  size_t total = 0;
  for (const Block& block : blocks)
    total += block.bytes;
  const auto count = static_cast<int64_t>(pieces.size());
  parallel_for(count, total < 4 * kPiece ? count : 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto at = static_cast<size_t>(i);
      hashes[at] = digest_of(pieces[at].data, pieces[at].bytes);
    }
  });
  std::vector<Digest> out;
  out.reserve(blocks.size());
  size_t first = 0;
  for (const Block& block : blocks) {
    const size_t count = piece_count(block);
    out.push_back(count == 1 ? hashes[first] : digest_of(&hashes[first], count * sizeof(Digest)));
    first += count;
  }
  return out;
}

}  // namespace regraft::base
