#include "refit/lora.h"

#include <cmath>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "base/parallel.h"
#include "refit/lora_kernel.h"
#include "regraft/error.h"
#include "tensor/copy.h"

namespace regraft {
namespace {

using refit::merge_lora;

Tensor random(DType dtype, Dims dims, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Tensor values(DType::F32, dims);
  for (int64_t i = 0; i < values.view().count(); ++i)
    values.mutable_view().as_mutable<float>()[i] = normal(generator);
  Tensor out(dtype, dims);
  copy(values.view(), out.mutable_view());
  return out;
}

std::vector<double> doubles(const Tensor& tensor) {
  Tensor out(DType::F64, tensor.dims());
  copy(tensor.view(), out.mutable_view());
  const double* data = out.view().as<double>();
  return {data, data + out.view().count()};
}

// One term in the plainest loops there are.
void add_naive(std::vector<double>& weight, const Tensor& a, const Tensor& b, double scale,
               bool transposed) {
  const int64_t rank = a.dims()[0], outs = b.dims()[0], ins = a.view().count() / rank;
  const std::vector<double> x = doubles(a), y = doubles(b);
  for (int64_t o = 0; o < outs; ++o) {
    for (int64_t i = 0; i < ins; ++i) {
      double sum = 0;
      for (int64_t r = 0; r < rank; ++r)
        sum += y[o * rank + r] * x[r * ins + i];
      weight[transposed ? i * outs + o : o * ins + i] += scale * sum;
    }
  }
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dims() == b.dims() && a.dtype() == b.dtype() &&
         std::memcmp(a.view().data, b.view().data, a.view().bytes()) == 0;
}

void expect_near(const Tensor& have, const std::vector<double>& want, double relative) {
  const std::vector<double> values = doubles(have);
  ASSERT_EQ(values.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(values[i], want[i], relative * (std::abs(want[i]) + 4)) << i;
}

struct Threads {
  explicit Threads(int count) : before(base::thread_count()) { base::set_thread_count(count); }
  ~Threads() { base::set_thread_count(before); }
  int before;
};

TEST(Lora, EqualsNaiveLoopsForEveryDtype) {
  for (const DType dtype : {DType::F16, DType::BF16, DType::F32, DType::F64}) {
    for (const DType factor : {DType::F16, DType::BF16, DType::F32}) {
      const Tensor base = random(dtype, {37, 131}, 1);
      const Tensor a = random(factor, {5, 131}, 2), b = random(factor, {37, 5}, 3);
      const Tensor c = random(factor, {16, 131}, 4), d = random(factor, {37, 16}, 5);
      const std::vector<LoraTerm> terms = {{a.view(), b.view(), 0.75f},
                                           {c.view(), d.view(), -0.25f}};
      std::vector<double> want = doubles(base);
      add_naive(want, a, b, 0.75, false);
      add_naive(want, c, d, -0.25, false);
      const double rounding = dtype == DType::BF16 ? 0x1p-8 : dtype == DType::F16 ? 0x1p-11 : 1e-6;
      const Tensor merged = merge_lora(base.view(), terms);
      EXPECT_EQ(merged.dtype(), dtype);
      expect_near(merged, want, rounding);
    }
  }
}

TEST(Lora, ConvolutionsAreFlattened) {
  for (const int64_t kernel : {1, 3}) {
    const Tensor base = random(DType::F32, {9, 7, kernel, kernel}, 1);
    const Tensor a = random(DType::F32, {4, 7, kernel, kernel}, 2);
    const Tensor b = random(DType::F32, {9, 4, 1, 1}, 3);
    std::vector<double> want = doubles(base);
    add_naive(want, a, b, 2, false);
    expect_near(merge_lora(base.view(), {{{a.view(), b.view(), 2.0f}}}), want, 1e-6);
  }
}

TEST(Lora, TransposedWeightsGetTheTransposedProduct) {
  const Tensor base = random(DType::F32, {70, 45}, 1);  // [in, out]
  const Tensor a = random(DType::F32, {3, 70}, 2), b = random(DType::F32, {45, 3}, 3);
  std::vector<double> want = doubles(base);
  add_naive(want, a, b, 0.5, true);
  expect_near(merge_lora(base.view(), {{{a.view(), b.view(), 0.5f, true}}}), want, 1e-6);
}

// Every kernel against sums in f64, and to the bit against loops that round as the contract says.
TEST(Lora, KernelsGiveTheSameBits) {
  using refit::lora::kColumns;
  for (const int64_t rank : {1, 3, 16, 65}) {
    const int64_t stride = 2 * kColumns;
    const Tensor left = random(DType::F32, {rank}, 1),
                 right = random(DType::F32, {rank, stride}, 2);
    const Tensor before = random(DType::F32, {kColumns}, 3);
    const float* l = left.view().as<float>();
    const float* r = right.view().as<float>() + kColumns;
    for (const float scale : {1.0f, -0.3f, 1e-30f}) {
      alignas(64) float want[kColumns];
      for (int64_t i = 0; i < kColumns; ++i) {
        float sum = 0;
        double exact = 0;
        for (int64_t k = 0; k < rank; ++k) {
          const volatile float product = l[k] * r[k * stride + i];  // Rounded before the sum.
          sum += product;
          exact += static_cast<double>(l[k]) * r[k * stride + i];
        }
        const volatile float scaled = scale * sum;
        const float old = before.view().as<float>()[i];
        want[i] = old + scaled;
        ASSERT_NEAR(want[i], old + scale * exact, 1e-6 * (std::abs(old) + rank)) << rank;
      }
      for (const refit::lora::Kernel& kernel : refit::lora::kernels()) {
        alignas(64) float total[kColumns];
        std::memcpy(total, before.view().data, sizeof(total));
        kernel.run(l, r, stride, rank, scale, total);
        EXPECT_EQ(std::memcmp(total, want, sizeof(total)), 0) << kernel.name << " rank " << rank;
      }
    }
  }
#if defined(__x86_64__)
  EXPECT_EQ(refit::lora::kernels().size(), __builtin_cpu_supports("avx2") ? 2U : 1U);
#endif
}

TEST(Lora, BitsDoNotDependOnThreads) {
  const Tensor base = random(DType::F32, {257, 391}, 1);
  const Tensor a = random(DType::BF16, {9, 391}, 2), b = random(DType::F32, {257, 9}, 3);
  const std::vector<LoraTerm> terms = {{a.view(), b.view(), 0.3f}, {a.view(), b.view(), 0.7f}};
  Tensor one;
  for (const int count : {1, 2, 4}) {
    const Threads threads(count);
    const Tensor merged = merge_lora(base.view(), terms);
    if (!one) one = merged;
    EXPECT_TRUE(same_bits(merged, one)) << count << " threads";
  }
  EXPECT_FALSE(same_bits(one, base));
}

TEST(Lora, StridedViewsGiveTheBitsOfTheirCopies) {
  const Tensor base = random(DType::F32, {20, 30}, 1);
  const Tensor a = random(DType::F32, {4, 30}, 2), b = random(DType::F32, {20, 4}, 3);
  Tensor turned_base(DType::F32, {30, 20}), turned_a(DType::F32, {30, 4});
  const auto turn = [](const Tensor& from, Tensor& to) {
    const TensorView v = from.view();
    copy({v.data, v.dtype, {v.dims[1], v.dims[0]}, {1, v.dims[1]}}, to.mutable_view());
    return TensorView(to.view().data, v.dtype, v.dims, {1, v.dims[0]});
  };
  const TensorView strided = turn(base, turned_base), strided_a = turn(a, turned_a);
  EXPECT_TRUE(same_bits(merge_lora(strided, {{{strided_a, b.view(), 1.5f}}}),
                        merge_lora(base.view(), {{{a.view(), b.view(), 1.5f}}})));
}

TEST(Lora, NothingToAddLeavesEveryBit) {
  Tensor base = random(DType::F32, {8, 8}, 1);
  float* data = base.mutable_view().as_mutable<float>();
  data[0] = -0.0f;
  data[1] = 1e-41f;
  data[2] = std::nanf("7");
  const Tensor a = random(DType::F32, {2, 8}, 2), b = random(DType::F32, {8, 2}, 3);
  EXPECT_TRUE(same_bits(merge_lora(base.view(), {}), base));
  EXPECT_TRUE(same_bits(merge_lora(base.view(), {{{a.view(), b.view(), 0.0f}}}), base));
}

TEST(Lora, KeepsDenormals) {
  Tensor base(DType::F32, {1, 1}), a(DType::F32, {1, 1}), b(DType::F32, {1, 1});
  base.mutable_view().as_mutable<float>()[0] = 1e-41f;
  a.mutable_view().as_mutable<float>()[0] = 1e-41f;
  b.mutable_view().as_mutable<float>()[0] = 1;
  const Tensor merged = merge_lora(base.view(), {{{a.view(), b.view(), 1.0f}}});
  EXPECT_EQ(merged.view().as<float>()[0], 1e-41f + 1e-41f);
}

TEST(Lora, RefusesWhatDoesNotFit) {
  const Tensor base = random(DType::F32, {6, 4}, 1);
  const Tensor a = random(DType::F32, {2, 4}, 2), b = random(DType::F32, {6, 2}, 3);
  const Tensor wide = random(DType::F32, {3, 4}, 4);
  const Tensor whole(DType::I64, {6, 2});
  const auto code = [&](const LoraTerm& term) {
    try {
      merge_lora(base.view(), {{term}});
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::Internal;
  };
  EXPECT_EQ(code({wide.view(), b.view()}), ErrorCode::Mismatch);           // Ranks.
  EXPECT_EQ(code({b.view(), a.view()}), ErrorCode::Mismatch);              // Sizes.
  EXPECT_EQ(code({a.view(), b.view(), 1.0f, true}), ErrorCode::Mismatch);  // Orientation.
  EXPECT_EQ(code({a.view(), whole.view()}), ErrorCode::Unsupported);
}

}  // namespace
}  // namespace regraft
