#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/cpu/run/vector_math.h"

namespace regraft::cpu {

// One position of a channels-last result: a weighted sum of positions of the input.
struct Blend {
  static constexpr int kMost = 16;  // Four by four, or two by two by two.

  // Of an input position, or of nothing but zeros where `x` is null.
  void add(const void* x, float weight) {
    if (x == nullptr) {
      base += 0.0F * weight;  // NaN stays NaN.
      return;
    }
    from[count] = x;
    weights[count++] = weight;
  }

  const void* from[kMost];
  float weights[kMost];
  int count = 0;
  float base = 0;
  int64_t channels = 0;
  void* out = nullptr;
};

template <typename T>
struct BlendChannels {
  REGRAFT_INLINE static void run(const Blend* b) {
    constexpr int64_t kBlock = 64;
    for (int64_t first = 0; first < b->channels; first += kBlock) {
      const int64_t count = std::min(kBlock, b->channels - first);
      float sum[kBlock];
      for (int64_t c = 0; c < kBlock; ++c)
        sum[c] = b->base;
      for (int i = 0; i < b->count; ++i) {
        const T* const x = static_cast<const T*>(b->from[i]) + first;
        const float weight = b->weights[i];
        for (int64_t c = 0; c < count; ++c)
          sum[c] += weight * load_float(x[c]);
      }
      T* const out = static_cast<T*>(b->out) + first;
      for (int64_t c = 0; c < count; ++c)
        store_float(out + c, sum[c]);
    }
  }
};

using BlendFunction = void (*)(const Blend*);

inline BlendFunction select_blend(DType dtype) {
  return select_float<BlendChannels, const Blend*>(dtype);
}

// The images of a channels-last tensor of 1 to 3 spatial dimensions.
struct Images {
  Images() = default;
  explicit Images(const Dims& dims) : batch(dims[0]), channels(dims[1]) {
    std::copy(dims.begin() + 2, dims.end(), sizes + (5 - dims.size()));
  }
  int64_t places() const { return sizes[0] * sizes[1] * sizes[2]; }

  int64_t batch = 0, channels = 0;
  int64_t sizes[3] = {1, 1, 1};
};

}  // namespace regraft::cpu
