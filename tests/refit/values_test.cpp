#include "refit/values.h"

#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "support/plan_builder.h"
#include "tensor/copy.h"

namespace regraft {
namespace {

Tensor with_three_bad(DType dtype, int64_t count) {
  Tensor values(DType::F32, {count});
  float* data = values.mutable_view().as_mutable<float>();
  for (int64_t i = 0; i < count; ++i)
    data[i] = static_cast<float>(i % 100) - 50.0f;
  data[0] = std::numeric_limits<float>::infinity();
  data[count / 2] = std::numeric_limits<float>::quiet_NaN();
  data[count - 1] = -std::numeric_limits<float>::infinity();
  Tensor out(dtype, {count});
  copy(values.view(), out.mutable_view());
  return out;
}

TEST(Values, CountsNonFinite) {
  for (const DType dtype : {DType::F16, DType::BF16, DType::F32, DType::F64, DType::C64}) {
    for (const int64_t count : {3, 127, 128, 129, 5000, 300'000}) {
      const Tensor tensor = with_three_bad(dtype, count);
      EXPECT_EQ(refit::count_non_finite(tensor.view()), 3u) << name(dtype) << count;
      const Tensor target(dtype, {count});
      EXPECT_EQ(
          refit::copy_and_count_non_finite(tensor.view(), target.mutable_view().mutable_data()),
          3u);
      EXPECT_EQ(std::memcmp(target.view().data, tensor.view().data, tensor.view().bytes()), 0);
    }
  }
  EXPECT_EQ(refit::count_non_finite(Tensor(DType::F32, {0}).view()), 0u);
  EXPECT_EQ(refit::count_non_finite(Tensor(DType::I64, {9}).view()), 0u);
}

TEST(Values, CountsTensorsOfNothingElse) {
  for (const DType dtype :
       {DType::F16, DType::BF16, DType::F32, DType::F64, DType::F8E4M3FN, DType::F8E5M2}) {
    Tensor tensor(dtype, {300'001});
    std::memset(tensor.mutable_view().mutable_data(), 0xff, tensor.view().bytes());
    EXPECT_EQ(refit::count_non_finite(tensor.view()), 300'001u);
    const Tensor target(dtype, {300'001});
    EXPECT_EQ(refit::copy_and_count_non_finite(tensor.view(), target.mutable_view().mutable_data()),
              300'001u);
  }
}

TEST(Values, FindsIndicesOutOfBounds) {
  Tensor tensor(DType::I32, {4});
  const int32_t values[] = {0, 9, 10, -1};
  std::memcpy(tensor.mutable_view().mutable_data(), values, sizeof values);
  EXPECT_EQ(refit::find_out_of_bounds(tensor.view(), 11).index, 3);
  EXPECT_EQ(refit::find_out_of_bounds(tensor.view(), 10).index, 2);
  EXPECT_EQ(refit::find_out_of_bounds(tensor.view(), 10).value, 10);
}

}  // namespace
}  // namespace regraft
