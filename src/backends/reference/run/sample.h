#pragma once

#include <cstdint>

#include "backends/reference/run/spatial.h"

namespace regraft::reference {

// What one output position reads along one axis: up to four inputs and their weights.
struct Sample {
  static constexpr int64_t kOutside = -1;  // An index that stands for the value 0.
  int count;
  int64_t index[4];
  double weight[4];
};

// Keys' cubic convolution with a = -0.75 at a distance from 0 to 2.
inline double cubic_weight(double x) {
  constexpr double a = -0.75;
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
}

// The samples' product over a plane of sizes `in`.
inline double blend(const double* plane, const Triple& in, const Sample& depth,
                    const Sample& height, const Sample& width) {
  double sum = 0;
  for (int d = 0; d < depth.count; ++d) {
    for (int h = 0; h < height.count; ++h) {
      const double scale = depth.weight[d] * height.weight[h];
      const bool is_outside =
          depth.index[d] == Sample::kOutside || height.index[h] == Sample::kOutside;
      const double* row = plane + (depth.index[d] * in[1] + height.index[h]) * in[2];
      double line = 0;
      for (int w = 0; w < width.count; ++w) {
        const bool is_zero = is_outside || width.index[w] == Sample::kOutside;
        line += (is_zero ? 0.0 : row[width.index[w]]) * width.weight[w];
      }
      sum += line * scale;
    }
  }
  return sum;
}

}  // namespace regraft::reference
