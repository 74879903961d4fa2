#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace regraft::base {

// memcpy for memory that is not read again soon: on x86-64 the stores go around the cache, which
// saves reading the destination and keeps the source's lines cached for who reads them next. `to`
// must be 16-byte aligned. Other threads may read what was copied after finish_streaming().
void stream_copy(void* to, const void* from, size_t bytes);
void finish_streaming();

// `bytes` bytes of `from` to `to`.
struct BlockCopy {
  std::byte* to = nullptr;
  const std::byte* from = nullptr;
  size_t bytes = 0;
};

// Many copies as one parallel loop; small ones go through the cache. All memory it needs is taken
// by the constructor: run() cannot fail.
class BlockCopies {
 public:
  explicit BlockCopies(std::vector<BlockCopy> blocks);
  void run() const;

 private:
  std::vector<BlockCopy> blocks_;
  std::vector<std::pair<size_t, size_t>> pieces_;  // Block, offset of the piece.
};

}  // namespace regraft::base
