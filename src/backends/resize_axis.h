#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/sample.h"

// Which input positions the results of a resize read, along one axis.
namespace regraft::backends {

enum class ResizeMode { Nearest, NearestExact, Linear, Cubic };

struct ResizeAxis {
  int64_t in, out;
  double scale;  // The factor PyTorch was given; 0: none.
  bool align_corners;
};

// Source positions are calculated in R = float for all dtypes but f64, as PyTorch does: near a
// pixel's edge the rounding decides which pixel is read.
template <typename R>
R resize_step(const ResizeAxis& axis) {
  if (axis.align_corners) {
    return axis.out > 1 ? static_cast<R>(axis.in - 1) / static_cast<R>(axis.out - 1) : R(0);
  }
  return axis.scale > 0 ? static_cast<R>(1.0 / axis.scale)
                        : static_cast<R>(axis.in) / static_cast<R>(axis.out);
}

// The pixel that a position lies in; steps of extreme factors lead anywhere.
template <typename R>
int64_t resize_pixel(R at, int64_t in) {
  const int64_t last = in - 1;
  return at < static_cast<R>(last) ? static_cast<int64_t>(std::floor(at)) : last;
}

template <typename R>
Sample resize_nearest(const ResizeAxis& axis, int64_t i, bool exact) {
  const R at = (static_cast<R>(i) + (exact ? R(0.5) : R(0))) * resize_step<R>(axis);
  return {1, {resize_pixel(at, axis.in)}, {1.0}};
}

// The position of output i between the centres of the input's pixels.
template <typename R>
R resize_source(const ResizeAxis& axis, int64_t i) {
  if (axis.align_corners) return resize_step<R>(axis) * static_cast<R>(i);
  return resize_step<R>(axis) * (static_cast<R>(i) + R(0.5)) - R(0.5);
}

template <typename R>
Sample resize_linear(const ResizeAxis& axis, int64_t i) {
  if (axis.in == axis.out) return {1, {i}, {1.0}};
  const R at = std::max(resize_source<R>(axis, i), R(0));
  const int64_t low = resize_pixel(at, axis.in);
  const R part = std::clamp(at - static_cast<R>(low), R(0), R(1));
  return {2, {low, std::min(low + 1, axis.in - 1)}, {R(1) - part, part}};
}

template <typename R>
Sample resize_cubic(const ResizeAxis& axis, int64_t i) {
  const R at = resize_source<R>(axis, i);
  const int64_t low = resize_pixel(at, axis.in);
  const double part = std::clamp(at - static_cast<R>(low), R(0), R(1));
  Sample sample{
      4,
      {},
      {cubic_weight(part + 1), cubic_weight(part), cubic_weight(1 - part), cubic_weight(2 - part)}};
  for (int64_t tap = 0; tap < 4; ++tap) {
    sample.index[tap] = std::clamp<int64_t>(low - 1 + tap, 0, axis.in - 1);
  }
  return sample;
}

template <typename R>
std::vector<Sample> resize_samples(const ResizeAxis& axis, ResizeMode mode) {
  std::vector<Sample> all;
  for (int64_t i = 0; i < axis.out; ++i) {
    switch (mode) {
      case ResizeMode::Nearest:
        all.push_back(resize_nearest<R>(axis, i, false));
        break;
      case ResizeMode::NearestExact:
        all.push_back(resize_nearest<R>(axis, i, true));
        break;
      case ResizeMode::Linear:
        all.push_back(resize_linear<R>(axis, i));
        break;
      case ResizeMode::Cubic:
        all.push_back(resize_cubic<R>(axis, i));
        break;
    }
  }
  return all;
}

}  // namespace regraft::backends
