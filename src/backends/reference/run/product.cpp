#include "backends/reference/run/product.h"

#include <cstring>

namespace regraft::reference {
namespace {

// Four lanes in registers whatever the processor: two SSE registers or one of AVX.
using Lanes = double __attribute__((vector_size(32)));

[[gnu::always_inline]] inline void multiply_lanes(const double* a, const double* b, int64_t depth,
                                                  double* sums, int64_t stride) {
  Lanes low[kPanelRows];
  Lanes high[kPanelRows];
  for (int64_t i = 0; i < kPanelRows; ++i) {
    std::memcpy(&low[i], sums + i * stride, sizeof(Lanes));
    std::memcpy(&high[i], sums + i * stride + 4, sizeof(Lanes));
  }
  for (int64_t p = 0; p < depth; ++p) {
    Lanes left, right;
    std::memcpy(&left, b + p * kPanelColumns, sizeof(Lanes));
    std::memcpy(&right, b + p * kPanelColumns + 4, sizeof(Lanes));
    for (int64_t i = 0; i < kPanelRows; ++i) {
      low[i] += a[p * kPanelRows + i] * left;
      high[i] += a[p * kPanelRows + i] * right;
    }
  }
  for (int64_t i = 0; i < kPanelRows; ++i) {
    std::memcpy(sums + i * stride, &low[i], sizeof(Lanes));
    std::memcpy(sums + i * stride + 4, &high[i], sizeof(Lanes));
  }
}

// No fused multiply-add in either: rounding would depend on the processor.
__attribute__((target("avx2"))) void multiply_avx2(const double* a, const double* b, int64_t depth,
                                                   double* sums, int64_t stride) {
  multiply_lanes(a, b, depth, sums, stride);
}

void multiply_baseline(const double* a, const double* b, int64_t depth, double* sums,
                       int64_t stride) {
  multiply_lanes(a, b, depth, sums, stride);
}

}  // namespace

void multiply_panels(const double* a, const double* b, int64_t depth, double* sums,
                     int64_t stride) {
  static const auto multiply = __builtin_cpu_supports("avx2") ? multiply_avx2 : multiply_baseline;
  multiply(a, b, depth, sums, stride);
}

}  // namespace regraft::reference
