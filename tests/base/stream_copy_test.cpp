#include "base/stream_copy.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "regraft/tensor.h"

namespace regraft {
namespace {

TEST(BlockCopies, CopyAnyLength) {
  const std::vector<int64_t> lengths = {0, 1, 63, 64, 65, 8191, 1'000'001};
  std::vector<Tensor> sources, targets;
  std::vector<base::BlockCopy> blocks;
  for (const int64_t bytes : lengths) {
    sources.emplace_back(DType::U8, Dims{bytes + 1});
    targets.emplace_back(DType::U8, Dims{bytes + 1});
    auto* source = sources.back().mutable_view().as_mutable<unsigned char>();
    for (int64_t i = 0; i <= bytes; ++i)
      source[i] = static_cast<unsigned char>(i * 7);
    auto* target = targets.back().mutable_view().as_mutable<std::byte>();
    std::memset(target, 0xee, static_cast<size_t>(bytes) + 1);
    // From a misaligned source.
    blocks.push_back(
        {target, reinterpret_cast<std::byte*>(source + 1), static_cast<size_t>(bytes)});
  }
  base::BlockCopies(blocks).run();
  for (const base::BlockCopy& block : blocks) {
    EXPECT_EQ(std::memcmp(block.to, block.from, block.bytes), 0) << block.bytes;
    EXPECT_EQ(block.to[block.bytes], std::byte{0xee}) << block.bytes;
  }
}

}  // namespace
}  // namespace regraft
