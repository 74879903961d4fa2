#include "backends/cuda/run/pointwise_space.h"

#include <algorithm>

namespace regraft::cuda {
namespace {

using Operands = std::span<const LaunchOperand* const>;

constexpr int64_t kMostTileColumns = 32, kMostTileElements = 4096, kMostTileRows = 256;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

Space merge_axes(Operands operands) {
  const Dims& dims = operands[0]->dims;
  std::vector<size_t> axes;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] != 1) axes.push_back(d);
  }
  std::stable_sort(axes.begin(), axes.end(), [&](size_t a, size_t b) {
    return operands[0]->strides[a] > operands[0]->strides[b];
  });
  Space space;
  space.strides.resize(operands.size());
  for (const size_t d : axes) {
    bool merges = !space.dims.empty();
    for (size_t k = 0; merges && k < operands.size(); ++k) {
      merges = space.strides[k].back() == operands[k]->strides[d] * dims[d];
    }
    if (merges) {
      space.dims.back() *= dims[d];
    } else {
      space.dims.push_back(dims[d]);
    }
    for (size_t k = 0; k < operands.size(); ++k) {
      if (merges) space.strides[k].pop_back();
      space.strides[k].push_back(operands[k]->strides[d]);
    }
  }
  if (space.dims.empty()) {
    space.dims = {1};
    for (Dims& strides : space.strides)
      strides = {0};
    space.strides[0] = {1};
  }
  return space;
}

bool fits_vector(const Space& space, Operands operands, int64_t n) {
  const size_t last = space.last();
  if (space.dims[last] % n != 0) return false;
  for (size_t k = 0; k < operands.size(); ++k) {
    const Dims& strides = space.strides[k];
    if (strides[last] == 0) continue;
    if (strides[last] != 1) return k != 0;
    const auto bytes = static_cast<size_t>(n) * item_size(operands[k]->dtype);
    if (operands[k]->alignment % bytes != 0) return false;
    for (size_t d = 0; d < last; ++d) {
      if (strides[d] % n != 0) return false;
    }
  }
  return true;
}

// The widest vector that all operands allow: 16 bytes of the largest element.
int64_t vector_of(const Space& space, Operands operands) {
  size_t largest = 1;
  for (const LaunchOperand* operand : operands)
    largest = std::max(largest, item_size(operand->dtype));
  int64_t vector = std::max<int64_t>(static_cast<int64_t>(16 / largest), 1);
  while (vector > 1 && !fits_vector(space, operands, vector))
    vector /= 2;
  return vector;
}

// Shared memory keeps some columns more than a tile has, if that has gaps: reads along the other
// axis then meet more banks.
bool fits_tile(const Space& space, int64_t rows, size_t item) {
  const auto most = static_cast<int64_t>(std::max<size_t>(16 / item, 1));
  const int64_t elements = rows * (space.tile_columns + (space.tile_is_dense ? 0 : most));
  return elements <= kMostTileElements && static_cast<size_t>(elements) * item <= kTileBytes;
}

// Whether every tile begins at a multiple of `n` elements and has only whole vectors of them.
bool fits_tile_vector(const Space& space, const LaunchOperand& operand, int64_t n) {
  if (operand.alignment % (static_cast<size_t>(n) * item_size(operand.dtype)) != 0) return false;
  const Dims& strides = space.strides[space.tiled];
  const int64_t rows = space.dims[space.last()], columns = space.dims[space.tile_axis];
  for (size_t d = 0; d < space.last(); ++d) {
    if (d != space.tile_axis && strides[d] % n != 0) return false;
  }
  if (space.tile_is_dense) return rows * columns % n == 0 && space.tile_rows * columns % n == 0;
  return columns % n == 0 && space.tile_columns % n == 0 && strides[space.last()] % n == 0;
}

// Whether all tiles have `n` neighbouring rows at a time, and the output lies so that they are
// stored at once.
bool fits_stored(const Space& space, const LaunchOperand& output, int64_t n) {
  const size_t last = space.last();
  if (output.alignment % (static_cast<size_t>(n) * item_size(output.dtype)) != 0) return false;
  if (space.dims[last] % n != 0 || space.tile_rows % n != 0) return false;
  for (size_t d = 0; d < last; ++d) {
    if (space.strides[0][d] % n != 0) return false;
  }
  return true;
}

void choose_tile(Space& space, Operands operands) {
  const size_t last = space.last();
  if (space.strides[0][last] != 1 || space.dims[last] < 2) return;
  for (size_t k = 1; k < operands.size() && !space.is_tiled(); ++k) {
    if (space.strides[k][last] < 2) continue;
    for (size_t d = 0; d < last; ++d) {
      if (space.strides[k][d] != 1) continue;
      space.tiled = static_cast<int>(k);
      space.tile_axis = d;
    }
  }
  if (!space.is_tiled()) return;
  space.vector = 1;
  const size_t item = item_size(operands[space.tiled]->dtype);
  space.tile_columns = std::min(space.dims[space.tile_axis], kMostTileColumns);
  // Without a gap, few rows of an even number of columns would lie in different banks.
  const bool meets_banks = space.tile_columns % 2 == 1 || space.tile_columns <= 4;
  space.tile_is_dense = meets_banks && space.tile_columns == space.dims[space.tile_axis] &&
                        space.tile_columns == space.strides[space.tiled][last];
  space.tile_rows = 1;
  while (space.tile_rows < std::min(space.dims[last], kMostTileRows) &&
         fits_tile(space, 2 * space.tile_rows, item)) {
    space.tile_rows *= 2;
  }
  space.tile_vector = static_cast<int64_t>(std::max<size_t>(16 / item, 1));
  while (space.tile_vector > 1 &&
         !fits_tile_vector(space, *operands[space.tiled], space.tile_vector)) {
    space.tile_vector /= 2;
  }
  // A warp fills a line of memory; more at once would meet in the banks of shared memory.
  constexpr size_t kStoredBytes = 4;
  space.tile_stored =
      static_cast<int64_t>(std::max<size_t>(kStoredBytes / item_size(operands[0]->dtype), 1));
  while (space.tile_stored > 1 && !fits_stored(space, *operands[0], space.tile_stored))
    space.tile_stored /= 2;
}

}  // namespace

int64_t Space::items() const {
  if (!is_tiled()) return numel(dims) / vector;
  int64_t tiles = ceil_div(dims[last()], tile_rows) * ceil_div(dims[tile_axis], tile_columns);
  for (size_t d = 0; d < last(); ++d) {
    if (d != tile_axis) tiles *= dims[d];
  }
  return tiles;
}

int64_t Space::items_at_once() const { return is_tiled() ? 1 : kPointwiseThreads; }

int64_t Space::items_per_block() const {
  constexpr int64_t kTiles = 4, kVectors = 8;
  return is_tiled() ? kTiles : kVectors * kPointwiseThreads;
}

Space space_of(Operands operands) {
  Space space = merge_axes(operands);
  space.vector = vector_of(space, operands);
  choose_tile(space, operands);
  for (const Dims& strides : space.strides) {
    int64_t reach = 0;
    for (size_t d = 0; d < space.dims.size(); ++d)
      reach += (space.dims[d] - 1) * strides[d];
    space.is_small = space.is_small && reach < (int64_t{1} << 31);
  }
  space.is_small = space.is_small && numel(space.dims) < (int64_t{1} << 31);
  return space;
}

}  // namespace regraft::cuda
