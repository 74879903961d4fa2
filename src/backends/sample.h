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
  constexpr double kA = -0.75;
  if (x <= 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  return ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA;
}

}  // namespace regraft::backends
