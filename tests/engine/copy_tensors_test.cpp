#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "regraft/engine.h"
#include "regraft/error.h"

namespace regraft {
namespace {

// Each to its place, whatever its strides; an empty one needs none.
TEST(CopyTensors, AreRowMajor) {
  std::vector<float> numbers(12);
  std::iota(numbers.begin(), numbers.end(), 1.F);
  const uint8_t bytes[3] = {7, 8, 9};
  const TensorView tensors[] = {{numbers.data(), DType::F32, Dims{3, 2}, Dims{1, 3}},
                                {nullptr, DType::F32, Dims{0, 4}},
                                {bytes, DType::U8, Dims{3}}};
  constexpr float kValues[6] = {1, 4, 2, 5, 3, 6};
  constexpr size_t kBehind = sizeof bytes + 1;  // Where the larger one goes.
  std::vector<std::byte> to(kBehind + sizeof kValues + 1, std::byte{99});
  std::vector<std::byte> want = to;
  std::memcpy(want.data(), bytes, sizeof bytes);
  std::memcpy(want.data() + kBehind, kValues, sizeof kValues);
  void* const places[] = {to.data() + kBehind, nullptr, to.data()};
  copy_tensors(tensors, "cpu", places);
  EXPECT_EQ(to, want);
}

std::string error_of(std::span<const TensorView> tensors, const std::string& device) {
  try {
    copy_tensors(tensors, device, {});
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(CopyTensors, WantAPlaceForEach) {
  const float value = 1;
  const TensorView tensor(&value, DType::F32, Dims{});
  EXPECT_EQ(error_of({&tensor, 1}, "cpu"),
            "[engine] copy_tensors: want 1 addresses, one for each tensor, have 0");
}

TEST(CopyTensors, WantADeviceThatThereIs) {
  EXPECT_NE(error_of({}, "tpu:0").find("tpu"), std::string::npos) << error_of({}, "tpu:0");
}

}  // namespace
}  // namespace regraft
