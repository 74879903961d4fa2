// Uploads through pinned memory, to a driver that refuses copies from one block into the next.
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "backends/cuda/run/cuda_device.h"
#include "base/text.h"
#include "regraft/error.h"

namespace regraft::cuda {
namespace {

long copies() {
  using Count = long (*)(const char*);
  const auto count = reinterpret_cast<Count>(dlsym(RTLD_DEFAULT, "fakeCudaCalls"));
  return count == nullptr ? -1 : count("copy");
}

// Writes how many copies bring `pieces` of 512 bytes to as many blocks, or to one, and whether they
// are there.
void say_copies(size_t pieces, bool one_block) {
  const char* const given = std::getenv("REGRAFT_CUDA_PATH");
  const std::string wheels = given == nullptr ? "" : base::cat(":", given);
  setenv("FAKE_CUDA", "", 1);
  setenv("REGRAFT_CUDA_PATH", (std::string(REGRAFT_FAKE_DRIVER) + wheels).c_str(), 1);
  constexpr size_t kBytes = 512;
  try {
    CudaDevice& device = cuda_device("cuda:0");
    std::vector<std::shared_ptr<std::byte>> blocks;
    std::vector<std::array<std::byte, kBytes>> sources(pieces);
    std::vector<backends::BlockCopy> uploads;
    for (size_t i = 0; i < pieces; ++i) {
      if (i == 0 || !one_block)
        blocks.push_back(device.allocate(one_block ? pieces * kBytes : kBytes));
      sources[i].fill(static_cast<std::byte>(i + 1));
      std::byte* const to = one_block ? blocks[0].get() + i * kBytes : blocks[i].get();
      uploads.push_back({to, sources[i].data(), kBytes});
    }
    const bool neighbours = pieces < 2 || uploads[1].to == uploads[0].to + kBytes;
    const long before = copies();
    device.upload(uploads);
    const long made = copies() - before;
    bool there = true;
    for (const backends::BlockCopy& upload : uploads)
      there = there && std::memcmp(upload.to, upload.from, upload.bytes) == 0;
    std::fprintf(stderr, "neighbours %d, copies %ld, there %d", neighbours, made, there);
  } catch (const Error& error) {
    std::fputs(error.what(), stderr);
  }
  std::fflush(stderr);
  std::_Exit(0);
}

TEST(PinnedRingDeathTest, NeighboursOfOneBlockAreOneCopy) {
  EXPECT_EXIT(say_copies(5, true), ::testing::ExitedWithCode(0), "neighbours 1, copies 1, there 1");
}

TEST(PinnedRingDeathTest, BlocksThatAreNeighboursByChanceAreNot) {
  EXPECT_EXIT(say_copies(5, false), ::testing::ExitedWithCode(0),
              "neighbours 1, copies 5, there 1");
}

}  // namespace
}  // namespace regraft::cuda
