#pragma once

#include "backends/reference/run/spatial.h"
#include "backends/sample.h"

namespace regraft::reference {

using backends::cubic_weight;
using backends::Sample;

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
