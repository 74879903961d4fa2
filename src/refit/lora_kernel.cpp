#include "refit/lora_kernel.h"

#include <vector>

namespace regraft::refit::lora {
namespace {

// Eight registers of sums hide the latency of an addition.
using Lanes = float __attribute__((vector_size(32), may_alias));
using Unaligned = float __attribute__((vector_size(32), may_alias, aligned(4)));
constexpr int64_t kRegisters = kColumns / 8;

// Compiled for several processors; none of them fuses the product with the sum.
[[gnu::always_inline]] inline void add_product(const float* left, const float* right,
                                               int64_t stride, int64_t rank, float scale,
                                               float* total) {
  Lanes sums[kRegisters] = {};
  for (int64_t r = 0; r < rank; ++r) {
    const auto* row = reinterpret_cast<const Unaligned*>(right + r * stride);
    for (int64_t i = 0; i < kRegisters; ++i)
      sums[i] += left[r] * row[i];
  }
  auto* out = reinterpret_cast<Lanes*>(total);
  for (int64_t i = 0; i < kRegisters; ++i)
    out[i] += scale * sums[i];
}

void add_product_plain(const float* left, const float* right, int64_t stride, int64_t rank,
                       float scale, float* total) {
  add_product(left, right, stride, rank, scale, total);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void add_product_avx2(const float* left, const float* right,
                                                      int64_t stride, int64_t rank, float scale,
                                                      float* total) {
  add_product(left, right, stride, rank, scale, total);
}
#endif

std::vector<Kernel> runnable() {
  std::vector<Kernel> out = {{"plain", add_product_plain}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) out.push_back({"avx2", add_product_avx2});
#endif
  return out;
}

}  // namespace

std::span<const Kernel> kernels() {
  static const std::vector<Kernel> all = runnable();
  return all;
}

}  // namespace regraft::refit::lora
