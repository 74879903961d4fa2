#include "tensor/copy.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/parallel.h"
#include "regraft/error.h"
#include "tensor/convert.h"

namespace regraft {
namespace {

using Random = std::mt19937;

int64_t pick(Random& random, int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(random);
}

// Strides of a random layout: dimensions in random order, with gaps between them.
Dims random_strides(Random& random, const Dims& dims, bool allow_zero) {
  std::vector<size_t> order(dims.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  Dims strides(dims.size());
  int64_t stride = pick(random, 1, 2);
  for (const size_t dim : order) {
    strides[dim] = allow_zero && pick(random, 0, 4) == 0 ? 0 : stride;
    stride *= std::max<int64_t>(dims[dim], 1);
    if (pick(random, 0, 3) == 0) stride += pick(random, 0, 3);
  }
  return strides;
}

size_t span(const Dims& dims, const Dims& strides) {
  int64_t last = 0;
  for (size_t i = 0; i < dims.size(); ++i)
    last += (std::max<int64_t>(dims[i], 1) - 1) * strides[i];
  return static_cast<size_t>(last) + 1;
}

// Calls f(offset in a, offset in b) for every index of dims.
template <typename F>
void for_each_index(const Dims& dims, const Dims& a, const Dims& b, const F& f) {
  const int64_t count = numel(dims);
  for (int64_t flat = 0; flat < count; ++flat) {
    int64_t rest = flat, at_a = 0, at_b = 0;
    for (size_t i = dims.size(); i-- > 0;) {
      at_a += rest % dims[i] * a[i];
      at_b += rest % dims[i] * b[i];
      rest /= dims[i];
    }
    f(at_a, at_b);
  }
}

template <typename From, typename To>
void check_copy(Random& random, DType from_dtype, DType to_dtype, const Dims& dims) {
  const Dims from_strides = random_strides(random, dims, true);
  const Dims to_strides = random_strides(random, dims, false);
  const size_t from_size = span(dims, from_strides), to_size = span(dims, to_strides);
  const Tensor from(from_dtype, {static_cast<int64_t>(from_size)});
  const Tensor to(to_dtype, {static_cast<int64_t>(to_size)});
  auto* source = from.mutable_view().as_mutable<From>();
  auto* target = to.mutable_view().as_mutable<To>();
  for (size_t i = 0; i < from_size; ++i) {
    source[i] = convert<From>(static_cast<double>(pick(random, -40, 400)) / 8);
  }
  const To untouched = convert<To>(1.0);
  std::fill_n(target, to_size, untouched);
  std::vector<To> want(target, target + to_size);
  for_each_index(dims, from_strides, to_strides, [&](int64_t i, int64_t j) {
    want[static_cast<size_t>(j)] = convert<To>(source[i]);
  });
  copy({source, from_dtype, dims, from_strides}, {target, to_dtype, dims, to_strides});
  for (size_t i = 0; i < to_size; ++i) {
    const To have = target[i], expected = want[i];
    ASSERT_EQ(std::memcmp(&have, &expected, sizeof(To)), 0)
        << name(from_dtype) << to_string(dims) << to_string(from_strides) << " -> "
        << name(to_dtype) << to_string(to_strides) << " at " << i;
  }
}

TEST(Copy, AgreesWithALoopForRandomStridesAndDtypes) {
  Random random(3);
  const int threads = base::thread_count();
  base::set_thread_count(3);
  for (int round = 0; round < 1500; ++round) {
    Dims dims(static_cast<size_t>(pick(random, 0, 5)));
    for (int64_t& size : dims)
      size = pick(random, 0, 15) == 0 ? 0 : pick(random, 1, 5);
    const auto from = static_cast<DType>(pick(random, 0, kDTypeCount - 1));
    const auto to = static_cast<DType>(pick(random, 0, kDTypeCount - 1));
    visit(from, [&](auto source) {
      visit(to, [&](auto target) {
        using From = decltype(source);
        using To = decltype(target);
        if constexpr (!std::is_same_v<To, bool>) check_copy<From, To>(random, from, to, dims);
      });
    });
    if (HasFatalFailure()) break;
  }
  base::set_thread_count(threads);
}

TEST(Copy, LargeTensorsOnManyThreads) {
  Random random(4);
  const int threads = base::thread_count();
  base::set_thread_count(4);
  check_copy<float, float>(random, DType::F32, DType::F32, {70'000});
  check_copy<float, BFloat16>(random, DType::F32, DType::BF16, {300, 500});
  check_copy<int64_t, float>(random, DType::I64, DType::F32, {3, 50'000, 2});
  check_copy<Half, double>(random, DType::F16, DType::F64, {70, 40, 30});
  base::set_thread_count(threads);
}

TEST(Copy, KeepsDenormals) {
  const std::vector<float> denormals(200'000, 1e-40f);
  std::vector<double> wide(denormals.size());
  copy({denormals.data(), DType::F32, {200'000}},
       MutableTensorView(wide.data(), DType::F64, {200'000}));
  EXPECT_TRUE(std::all_of(wide.begin(), wide.end(), [](double x) { return x == 1e-40f; }));
  std::vector<float> back(denormals.size());
  copy({wide.data(), DType::F64, {200'000}}, MutableTensorView(back.data(), DType::F32, {200'000}));
  EXPECT_EQ(back, denormals);
}

TEST(Copy, RefusesOtherDims) {
  float x[6] = {}, y[6] = {};
  EXPECT_THROW(copy({x, DType::F32, {2, 3}}, {y, DType::F32, {3, 2}}), Error);
  EXPECT_THROW(copy({x, DType::F32, {6}}, {y, DType::F32, {1, 6}}), Error);
}

TEST(Copy, EmptyTensorsTouchNothing) {
  copy({nullptr, DType::F32, {0, 3}}, MutableTensorView(nullptr, DType::F64, {0, 3}));
}

TEST(Tensor, CopyOfIsRowMajorAndAligned) {
  const float x[] = {1, 2, 3, 4, 5, 6};
  const Tensor copy = Tensor::copy_of({x, DType::F32, {3, 2}, {1, 3}});
  EXPECT_TRUE(copy.view().is_contiguous());
  EXPECT_EQ(reinterpret_cast<uintptr_t>(copy.view().data) % 64, 0u);
  EXPECT_EQ(copy.view().as<float>()[1], 4);
  EXPECT_EQ(copy.view().spec(), "f32[3,2]");
  EXPECT_TRUE(static_cast<bool>(copy));
  EXPECT_FALSE(static_cast<bool>(Tensor()));
  EXPECT_TRUE(static_cast<bool>(Tensor(DType::F32, {0})));
}

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return ErrorCode::Internal;
}

TEST(Tensor, SizesAreChecked) {
  constexpr int64_t kHuge = int64_t{1} << 40;
  EXPECT_EQ(code_of([] { numel({-1}); }), ErrorCode::InvalidArgument);
  EXPECT_EQ(code_of([] { numel({kHuge, kHuge}); }), ErrorCode::OutOfMemory);
  EXPECT_EQ(code_of([] { numel({0, kHuge, kHuge}); }), ErrorCode::OutOfMemory);
  EXPECT_EQ(code_of([] { contiguous_strides({kHuge, kHuge}); }), ErrorCode::OutOfMemory);
  EXPECT_EQ(code_of([] { Tensor(DType::F32, {-1}); }), ErrorCode::InvalidArgument);
  EXPECT_EQ(code_of([] { Tensor(DType::F64, {INT64_MAX}); }), ErrorCode::OutOfMemory);
  EXPECT_EQ(numel({}), 1);
  EXPECT_EQ(numel({0, kHuge}), 0);
  EXPECT_EQ(contiguous_strides({2, 0, 3}), (Dims{3, 3, 1}));
}

TEST(Tensor, Contiguity) {
  const auto contiguous = [](Dims dims, Dims strides) {
    return TensorView(nullptr, DType::F32, std::move(dims), std::move(strides)).is_contiguous();
  };
  EXPECT_TRUE(contiguous({}, {}));
  EXPECT_TRUE(contiguous({2, 3}, {3, 1}));
  EXPECT_TRUE(contiguous({2, 1, 3}, {3, 77, 1}));
  EXPECT_TRUE(contiguous({0, 3}, {9, 9}));
  EXPECT_FALSE(contiguous({2, 3}, {1, 2}));
  EXPECT_FALSE(contiguous({2, 3}, {4, 1}));
  EXPECT_FALSE(contiguous({2}, {0}));
}

TEST(DTypes, NamesParseBack) {
  for (int id = 0; id < kDTypeCount; ++id) {
    const auto dtype = static_cast<DType>(id);
    EXPECT_EQ(try_parse_dtype(name(dtype)), dtype);
  }
  EXPECT_EQ(try_parse_dtype("float"), std::nullopt);
  EXPECT_TRUE(is_floating(DType::BF16) && !is_floating(DType::C64) && !is_floating(DType::I64));
  EXPECT_TRUE(is_integral(DType::U8) && !is_integral(DType::Bool) && !is_integral(DType::F16));
  EXPECT_TRUE(is_complex(DType::C128) && !is_complex(DType::F64));
}

}  // namespace
}  // namespace regraft
