#include "backends/reference/run/product.h"

#include <random>

#include <gtest/gtest.h>

namespace regraft::reference {
namespace {

std::vector<double> random_values(size_t count, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(count);
  for (double& value : values)
    value = normal(generator);
  return values;
}

// The definition: sums in the order of p, nothing fused.
double element(const std::vector<double>& a, const std::vector<double>& b, int64_t depth,
               int64_t columns, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t p = 0; p < depth; ++p) {
    const double product = a[i * depth + p] * b[p * columns + j];
    sum += product;
  }
  return sum;
}

struct Sizes {
  int64_t rows, depth, columns;
};

class Product : public testing::TestWithParam<Sizes> {};

TEST_P(Product, HasTheBitsOfTheDefinitionUnderAnyTiling) {
  const auto [rows, depth, columns] = GetParam();
  const auto a = random_values(rows * depth, 1), b = random_values(depth * columns, 2);
  const Matrix<double, double> left{a.data(), depth, 1}, right{b.data(), columns, 1};
  for (const int64_t size : {1, 5, 64, 256}) {
    const Tiling tiles(rows, columns, size, size);
    std::vector<double> out(rows * columns, -1);
    Multiplier<double> multiplier;
    for (int64_t t = 0; t < tiles.count(); ++t) {
      multiplier.multiply(
          tiles.at(t), depth, left, right,
          [&, columns = columns](int64_t i, int64_t j, double sum) { out[i * columns + j] = sum; });
    }
    for (int64_t i = 0; i < rows * columns; ++i) {
      ASSERT_EQ(out[i], element(a, b, depth, columns, i / columns, i % columns)) << "tile " << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Product,
                         testing::Values(Sizes{1, 1, 1}, Sizes{4, 8, 8}, Sizes{5, 255, 9},
                                         Sizes{65, 257, 67}, Sizes{3, 0, 2}, Sizes{1, 513, 130},
                                         Sizes{0, 3, 5}, Sizes{130, 2, 1}));

TEST(Product, IsGenericInTheElementType) {
  const int8_t a[] = {100, 100, -100, 3}, b[] = {100, 1, 100, -1};
  const Matrix<int64_t, int8_t> left{a, 2, 1}, right{b, 2, 1};
  std::vector<int64_t> out(4);
  Multiplier<int64_t> multiplier;
  multiplier.multiply({0, 2, 0, 2}, 2, left, right,
                      [&](int64_t i, int64_t j, int64_t sum) { out[i * 2 + j] = sum; });
  EXPECT_EQ(out, (std::vector<int64_t>{20000, 0, -9700, -103}));
}

}  // namespace
}  // namespace regraft::reference
