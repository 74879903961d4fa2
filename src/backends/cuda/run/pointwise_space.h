#pragma once

#include <span>
#include <vector>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// How the operands of a pointwise kernel lie over common axes; the output is operand 0. Axes are
// sorted by the output's strides; those of size 1 are gone, neighbours that all operands walk
// evenly are merged.
struct Space {
  Dims dims;
  std::vector<Dims> strides;  // By operand.
  bool is_small = true;       // Offsets fit in 32 bits.
  // Elements that a thread handles at once, along the last axis.
  int64_t vector = 1;
  // The operand that is dense along `tile_axis` and not along the last axis, along which the output
  // is: it goes through shared memory in tiles, so that both sides are read and written in lines.
  // -1: none, vectors are handled instead.
  int tiled = -1;
  size_t tile_axis = 0;
  // Along the last axis, a power of two, and along tile_axis.
  int64_t tile_rows = 0, tile_columns = 0;
  // The rows of a tile follow each other without a gap.
  bool tile_is_dense = false;
  // Elements of the tiled operand that a thread loads at once; of a dense tile, across rows.
  int64_t tile_vector = 1;
  // Elements of the output that a thread stores at once: rows of a tile.
  int64_t tile_stored = 1;

  bool is_tiled() const { return tiled >= 0; }
  size_t last() const { return dims.size() - 1; }
  // Vectors or tiles: what the kernel counts.
  int64_t items() const;
  // Items that a block of threads handles in one go, and what it should have to be worth starting.
  int64_t items_at_once() const;
  int64_t items_per_block() const;
};

inline constexpr unsigned kPointwiseThreads = 256;
// Shared memory of a tile, of which a block of threads has two.
inline constexpr size_t kTileBytes = 12288;

// Of operands with strides over the dims of the first, which is the output.
Space space_of(std::span<const LaunchOperand* const> operands);

}  // namespace regraft::cuda
