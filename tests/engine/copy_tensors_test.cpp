#include <cstring>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "regraft/engine.h"
#include "regraft/error.h"

namespace regraft {
namespace {

// One after the other, whatever their strides; an empty one takes no room.
TEST(CopyTensors, AreRowMajorInTheOrderOfTheSource) {
  std::vector<float> numbers(12);
  std::iota(numbers.begin(), numbers.end(), 1.F);
  const uint8_t bytes[3] = {7, 8, 9};
  const TensorView transposed(numbers.data(), DType::F32, Dims{3, 2}, Dims{1, 3});
  const auto source = make_source({{"b", {transposed, nullptr, false}},
                                   {"none", {TensorView(nullptr, DType::F32, Dims{0, 4}), nullptr}},
                                   {"a", {TensorView(bytes, DType::U8, Dims{3}), nullptr, false}}});
  std::vector<std::byte> to(6 * sizeof(float) + 3 + 1, std::byte{99});
  copy_tensors(*source, "cpu", to.data());
  std::vector<std::byte> want(to.size(), std::byte{99});
  size_t at = 0;
  for (const std::string& name : source->names()) {
    if (name == "none") continue;
    const float values[6] = {1, 4, 2, 5, 3, 6};
    const size_t count = name == "b" ? sizeof values : sizeof bytes;
    std::memcpy(want.data() + at, name == "b" ? static_cast<const void*>(values) : bytes, count);
    at += count;
  }
  EXPECT_EQ(to, want);
}

TEST(CopyTensors, WantADeviceThatThereIs) {
  std::byte to{};
  try {
    copy_tensors(*make_source({}), "tpu:0", &to);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tpu"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace regraft
