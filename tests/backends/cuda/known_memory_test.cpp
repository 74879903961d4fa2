// What is remembered of memory, with a driver that counts what it is asked.
#include "backends/known_memory.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "backends/cuda/fake_driver.h"
#include "backends/cuda/run/cuda_device.h"
#include "regraft/error.h"

namespace regraft::cuda {
namespace {

constexpr size_t kBytes = 1024;  // Blocks of the fake driver that follow each other have no gap.

void expect(bool holds, bool want, const char* what) {
  if (holds != want) std::fprintf(stderr, "%s: %s; ", what, holds ? "held" : "not held");
}

void say_what_is_held() {
  speak_with_fake_driver([] {
    CudaDevice& device = cuda_device("cuda:0");
    const std::array blocks = {device.allocate(kBytes), device.allocate(kBytes)};
    std::byte* const at = blocks[0].get();
    if (blocks[1].get() != at + kBytes) std::fputs("not neighbours; ", stderr);
    std::array<std::byte, 2> host = {};
    backends::KnownMemory memory(device);
    expect(memory.holds(at + kBytes + 1), true, "inside of the second");
    expect(memory.holds(at + 2 * kBytes), false, "behind the second");
    expect(memory.holds(at + kBytes - 1), true, "the end of the first");
    expect(memory.holds(at), true, "the first");
    expect(memory.holds(at - 1), false, "before the first");
    expect(memory.holds(host.data()), false, "the host's");
    expect(memory.holds(nullptr), false, "null");
    expect(memory.holds(at + 2 * kBytes - 1), true, "the end of the second");
    std::fputs("told", stderr);
  });
}

// A driver that knows an address alone is asked for each, and one of another device is refused.
void say_questions(const std::string& settings) {
  use_fake_driver(settings);
  CudaDevice& device = cuda_device("cuda:0");
  const std::shared_ptr<std::byte> block = device.allocate(kBytes);
  const long before = fake_calls("question");
  try {
    backends::KnownMemory memory(device);
    for (size_t i = 0; i < 100; ++i)
      expect(memory.holds(block.get() + i), true, "inside");
    std::fprintf(stderr, "%ld questions", fake_calls("question") - before);
    std::byte host = {};
    const long inside = fake_calls("question");
    expect(memory.holds(&host), false, "the host's");
    std::fprintf(stderr, ", of the host %ld", fake_calls("question") - inside);
  } catch (const Error& error) {
    std::fputs(error.what(), stderr);
  }
  std::fflush(stderr);
  std::_Exit(0);
}

// How much more the driver is asked about many tensors of an allocation than about one.
void say_questions_of_copies() {
  speak_with_fake_driver([] {
    CudaDevice& device = cuda_device("cuda:0");
    constexpr size_t kTensors = 50, kFloats = 4;
    const std::array blocks = {device.allocate(kBytes), device.allocate(kBytes)};
    std::vector<TensorView> tensors;
    std::vector<void*> to;
    for (size_t i = 0; i < kTensors; ++i) {
      const size_t at = i * kFloats * sizeof(float);
      tensors.emplace_back(blocks[0].get() + at, DType::F32, Dims{kFloats});
      to.push_back(blocks[1].get() + at);
    }
    const auto questions = [&](size_t count) {
      const long before = fake_calls("question");
      copy_tensors(std::span(tensors).first(count), "cuda:0", std::span(to).first(count));
      return fake_calls("question") - before;
    };
    questions(1);
    const long one = questions(1);
    std::fprintf(stderr, "%ld more than %d", questions(kTensors) - one, one > 0 ? 1 : 0);
  });
}

TEST(KnownMemory, EndsWhereAllocationsEnd) {
  EXPECT_EXIT(say_what_is_held(), testing::ExitedWithCode(0), "^told$");
}

TEST(KnownMemory, IsAskedForOnce) {
  EXPECT_EXIT(say_questions(""), testing::ExitedWithCode(0), "^1 questions, of the host 1$");
  EXPECT_EXIT(say_questions("ranges=0"), testing::ExitedWithCode(0),
              "^300 questions, of the host 1$");
}

TEST(KnownMemory, IsOfOneDevice) {
  EXPECT_EXIT(say_questions("ordinal=1"), testing::ExitedWithCode(0),
              "want memory of cuda:0, have some of cuda:1");
}

TEST(KnownMemory, IsAskedForOnceByCopiesOfMany) {
  EXPECT_EXIT(say_questions_of_copies(), testing::ExitedWithCode(0), "^0 more than 1$");
}

}  // namespace
}  // namespace regraft::cuda
