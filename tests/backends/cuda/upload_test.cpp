// Uploads through pinned memory, to a driver that refuses copies from one block into the next.
#include <cstdlib>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "backends/cuda/fake_driver.h"
#include "backends/cuda/run/cuda_device.h"
#include "regraft/error.h"

namespace regraft::cuda {
namespace {

// Writes how many copies bring pieces of these sizes to neighbouring places, in one block of the
// device or each in a block of its own, and whether they are there.
void say_copies(const std::vector<size_t>& sizes, bool one_block) {
  speak_with_fake_driver([&] {
    CudaDevice& device = cuda_device("cuda:0");
    std::vector<std::shared_ptr<std::byte>> kept = {
        device.allocate(one_block ? size_t{1} << 20 : sizes[0])};
    std::vector<std::vector<std::byte>> pieces;
    std::vector<backends::BlockCopy> uploads;
    for (std::byte* at = kept[0].get(); pieces.size() < sizes.size();) {
      const size_t bytes = sizes[pieces.size()];
      if (!one_block && !pieces.empty()) kept.push_back(device.allocate(bytes));
      if (!one_block && kept.back().get() != at) std::fputs("not neighbours; ", stderr);
      pieces.emplace_back(bytes, static_cast<std::byte>(pieces.size() + 1));
      uploads.push_back({at, pieces.back().data(), bytes});
      at += bytes;
    }
    const long before = fake_calls("copy");
    device.upload(uploads);
    std::fprintf(stderr, "%ld copies", fake_calls("copy") - before);
    for (const backends::BlockCopy& upload : uploads) {
      if (std::memcmp(upload.to, upload.from, upload.bytes) != 0)
        std::fputs(", other bytes", stderr);
    }
    std::fputs(" in all", stderr);
  });
}

// Writes how many copies and launches bring small and large pieces of pinned memory to the device,
// the small ones `apart` bytes from each other, and whether the large ones are there: kernels do
// nothing here.
void say_pinned_copies(size_t small, size_t large, size_t apart) {
  speak_with_fake_driver([&] {
    CudaDevice& device = cuda_device("cuda:0");
    constexpr size_t kSmall = 100, kLarge = 600000;
    const size_t all = small * apart + large * kLarge;
    const std::shared_ptr<std::byte> to = device.allocate(all), from = device.allocate_pinned(all);
    std::memset(from.get(), 7, all);
    std::vector<backends::BlockCopy> uploads;
    size_t at = 0;
    for (size_t i = 0; i < small + large; ++i) {
      uploads.push_back({to.get() + at, from.get() + at, i < large ? kLarge : kSmall});
      at += i < large ? kLarge : apart;
    }
    const long before = fake_calls("copy"), batches = fake_calls("batch"),
               launches = fake_calls("launch");
    device.upload(uploads);
    std::fprintf(stderr, "%ld copies in %ld batches, %ld launches", fake_calls("copy") - before,
                 fake_calls("batch") - batches, fake_calls("launch") - launches);
    if (std::memcmp(to.get(), from.get(), large * kLarge) != 0) std::fputs(", other bytes", stderr);
    std::fputs(" in all", stderr);
  });
}

TEST(UploadDeathTest, SmallPiecesOfPinnedMemoryAreReadByOneKernel) {
  EXPECT_EXIT(say_pinned_copies(50, 2, 112), ::testing::ExitedWithCode(0),
              "^2 copies in 1 batches, 1 launches in all")
      << "the kernel reads its table over the bus, too";
  EXPECT_EXIT(say_pinned_copies(3, 2, 112), ::testing::ExitedWithCode(0),
              "^5 copies in 1 batches, 0 launches in all")
      << "too few for a kernel";
  EXPECT_EXIT(say_pinned_copies(8, 2, 100), ::testing::ExitedWithCode(0),
              "^10 copies in 1 batches, 0 launches in all")
      << "six of them do not begin at a vector";
}

// The largest piece goes by itself, before the others are looked at; here it is not pinned.
TEST(UploadDeathTest, LargePinnedPiecesBesideLargerPageableOnesAreABatch) {
  const auto say_copies_beside_pageable = [] {
    speak_with_fake_driver([] {
      CudaDevice& device = cuda_device("cuda:0");
      constexpr size_t kLarge = 600000;
      const auto to = device.allocate(4 * kLarge), from = device.allocate_pinned(2 * kLarge);
      std::memset(from.get(), 7, 2 * kLarge);
      const std::vector<std::byte> pageable(2 * kLarge, std::byte{9});
      const std::vector<backends::BlockCopy> uploads = {
          {to.get(), from.get(), kLarge},
          {to.get() + kLarge, pageable.data(), 2 * kLarge},
          {to.get() + 3 * kLarge, from.get() + kLarge, kLarge}};
      device.upload(uploads);
      std::fprintf(stderr, "%ld batches", fake_calls("batch"));
      for (const backends::BlockCopy& upload : uploads) {
        if (std::memcmp(upload.to, upload.from, upload.bytes) != 0)
          std::fputs(", other bytes", stderr);
      }
    });
  };
  EXPECT_EXIT(say_copies_beside_pageable(), ::testing::ExitedWithCode(0), "^1 batches$");
}

// A copy that the driver refuses leaves others behind it under way: memory that they go to is only
// used again behind the work stream.
TEST(UploadDeathTest, TheWorkStreamWaitsForCopiesWhateverFails) {
  const auto say_orders = [](bool is_refused) {
    speak_with_fake_driver([&] {
      CudaDevice& device = cuda_device("cuda:0");
      constexpr size_t kLarge = 600000;
      const auto to = device.allocate(is_refused ? kLarge : 2 * kLarge);
      const auto from = device.allocate_pinned(2 * kLarge);
      const std::vector<backends::BlockCopy> uploads = {
          {to.get(), from.get(), kLarge}, {to.get() + kLarge / 2, from.get(), kLarge}};
      try {
        device.upload(uploads);
        std::fputs("copied, ", stderr);
      } catch (const Error&) {
        std::fputs("refused, ", stderr);
      }
      void *const work = device.work_stream(), *const copies = device.copy_stream();
      std::fprintf(stderr, "leaves %ld times, comes back %ld times", fake_orders(copies, work),
                   fake_orders(work, copies));
    });
  };
  EXPECT_EXIT(say_orders(false), ::testing::ExitedWithCode(0),
              "^copied, leaves 1 times, comes back 1 times$");
  EXPECT_EXIT(say_orders(true), ::testing::ExitedWithCode(0),
              "^refused, leaves 1 times, comes back 1 times$");
}

// Behind the third, the pinned buffer has a gap.
TEST(UploadDeathTest, NeighboursOfOneBlockAreOneCopy) {
  EXPECT_EXIT(say_copies({64, 128, 100, 64}, true), ::testing::ExitedWithCode(0),
              "^2 copies in all");
}

TEST(UploadDeathTest, LongPiecesAreCopiedWithTheirNeighbours) {
  EXPECT_EXIT(say_copies({64, 192 << 10, 64}, true), ::testing::ExitedWithCode(0),
              "^1 copies in all");
}

TEST(UploadDeathTest, BlocksThatAreNeighboursByChanceAreNot) {
  EXPECT_EXIT(say_copies({512, 1024, 512}, false), ::testing::ExitedWithCode(0),
              "^3 copies in all");
}

}  // namespace
}  // namespace regraft::cuda
