#pragma once

#include <cstdint>
#include <span>

namespace regraft::refit::lora {

// Columns that a kernel makes at once.
inline constexpr int64_t kColumns = 64;

// total[0..kColumns) += scale * left[0..rank) @ right, whose rows are `stride` floats apart. Sums
// are taken in f32 over the rank in its order, then scaled, then added; `total` is aligned to 64.
using AddProduct = void (*)(const float* left, const float* right, int64_t stride, int64_t rank,
                            float scale, float* total);

struct Kernel {
  const char* name;
  AddProduct run;
};

// Those that this processor runs, the best last. All give the same bits: products and sums are
// rounded apart, in one order.
std::span<const Kernel> kernels();

}  // namespace regraft::refit::lora
