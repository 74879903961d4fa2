// Recordings of work that goes side by side, by a driver that runs nothing.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include <gtest/gtest.h>

#include "backends/cuda/fake_driver.h"
#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {
namespace {

// Writes how often one stream waits for another in a recording of so many branches, and where a
// branch that fails throws nothing; the device records after each of these.
void say_recordings(size_t count) {
  speak_with_fake_driver([&] {
    CudaDevice& device = cuda_device("cuda:0");
    size_t calls = 0;
    const std::vector<backends::Device::Enqueue> branches(count, [&](Stream) { ++calls; });
    const long before = fake_calls("order");
    const auto recording = device.record_side_by_side(branches);
    std::fprintf(stderr, "%zu branches, %ld orders", calls, fake_calls("order") - before);
    for (size_t bad = 0; bad < count; ++bad) {
      std::vector<backends::Device::Enqueue> failing = branches;
      failing[bad] = [](Stream) { throw std::runtime_error("no"); };
      try {
        device.record_side_by_side(failing);
        std::fputs(", nothing thrown", stderr);
      } catch (const std::runtime_error&) {
        device.record_side_by_side(branches)->launch(device.work_stream());
      }
    }
    std::fputs(" in all", stderr);
  });
}

TEST(RecordingDeathTest, BranchesLeaveTheFirstAndComeBack) {
  EXPECT_EXIT(say_recordings(1), ::testing::ExitedWithCode(0), "^1 branches, 0 orders in all");
  EXPECT_EXIT(say_recordings(2), ::testing::ExitedWithCode(0), "^2 branches, 2 orders in all");
  EXPECT_EXIT(say_recordings(3), ::testing::ExitedWithCode(0), "^3 branches, 2 orders in all")
      << "the short ones are one after the other";
}

}  // namespace
}  // namespace regraft::cuda
