#pragma once

#include <cstdint>

namespace regraft::backends {

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

}  // namespace regraft::backends
