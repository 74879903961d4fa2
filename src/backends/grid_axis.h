#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>

#include "backends/sample.h"

// Which input positions a place of a sampling grid reads, along one axis.
namespace regraft::backends {

enum class GridPadding { Zeros, Border, Reflection };

// One axis of x; coordinates are in R = float for all dtypes but f64, as PyTorch's.
template <typename R>
struct GridAxis {
  int64_t size;
  GridPadding padding;
  bool align_corners;

  // From [-1, 1] to positions in which the first pixel's centre is 0.
  R position(R coordinate) const {
    const R steps = static_cast<R>(align_corners ? size - 1 : size);
    const R at = (coordinate + 1) * (steps / 2);
    return align_corners ? at : at - R(0.5);
  }

  // Mirrors at the first and last pixel: at their centres, or at their outer edges.
  R reflect(R at) const {
    const R low = align_corners ? R(0) : R(-0.5);
    const R span = static_cast<R>(align_corners ? size - 1 : size);
    if (span == 0) return 0;
    const R distance = std::fabs(at - low);
    const R rest = std::fmod(distance, span);
    const bool is_mirrored = std::fmod(std::floor(distance / span), R(2)) != 0;
    return (is_mirrored ? span - rest : rest) + low;
  }

  // The position with the padding rule applied; NaN becomes 0 where there is one.
  R place(R at) const {
    if (padding == GridPadding::Zeros) return at;
    if (padding == GridPadding::Reflection) at = reflect(at);
    return at > 0 ? std::min(at, static_cast<R>(size - 1)) : R(0);
  }

  int64_t index(R at) const {
    return at >= 0 && at < static_cast<R>(size) ? static_cast<int64_t>(at) : Sample::kOutside;
  }
};

template <typename R>
Sample grid_sample(const GridAxis<R>& axis, R coordinate, std::string_view mode) {
  if (mode == "nearest") {
    return {1, {axis.index(std::nearbyint(axis.place(axis.position(coordinate))))}, {1.0}};
  }
  if (mode == "bilinear") {
    const R at = axis.place(axis.position(coordinate));
    const R low = std::floor(at);
    return {2, {axis.index(low), axis.index(low + 1)}, {(low + 1) - at, at - low}};
  }
  // Bicubic: the padding rule is for each pixel read.
  const R at = axis.position(coordinate);
  const R low = std::floor(at);
  const double part = at - low;
  Sample out{
      4,
      {},
      {cubic_weight(part + 1), cubic_weight(part), cubic_weight(1 - part), cubic_weight(2 - part)}};
  for (int tap = 0; tap < 4; ++tap) {
    out.index[tap] = axis.index(axis.place(low + static_cast<R>(tap - 1)));
  }
  return out;
}

inline GridPadding grid_padding(std::string_view rule) {
  return rule == "zeros"    ? GridPadding::Zeros
         : rule == "border" ? GridPadding::Border
                            : GridPadding::Reflection;
}

}  // namespace regraft::backends
