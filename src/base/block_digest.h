#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace regraft::base {

// Bytes in memory that the caller keeps unchanged during a call.
struct Block {
  const void* data = nullptr;
  size_t bytes = 0;
};

// XXH3, 128 bits: low half, high half.
using Digest = std::array<uint64_t, 2>;

// One digest per block, on all threads: blocks are cut into equal pieces, and the digest of a block
// of more than one piece is that of its pieces' digests in order. Independent of the thread count.
std::vector<Digest> digests(std::span<const Block> blocks);

}  // namespace regraft::base
