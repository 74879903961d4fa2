#pragma once

#include <vector>

#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/pointwise_ops.h"
#include "backends/cpu/run/strided_copy.h"

namespace regraft::cpu {

// The iteration of a pointwise kernel: the outputs' dims in the order of the first output's memory,
// merged where all operands allow it, cut into tiles that stay in the L1 cache. A tile is a number
// of rows of the innermost dimension.
class PointwiseSpace {
 public:
  struct Tile {
    int64_t rows = 0, columns = 0;
    int64_t first_row = 0, first_column = 0;  // Within the two innermost dimensions.
    int64_t outer = 0;                        // Position in the dimensions around them.
    int64_t count() const { return rows * columns; }
  };

  PointwiseSpace(std::span<const Operand> inputs, std::span<const Operand> outputs);

  int64_t tile_count() const { return tile_count_; }
  int64_t tile_lanes() const { return tile_rows_ * tile_columns_; }
  Tile tile(int64_t index) const;

  // The lanes of input `i` under the tile: in place where they lie dense in their own dtype, a
  // single lane where it is one element, else converted into `slot`.
  TileOperand load(const Tile& tile, size_t i, const void* data, void* slot) const;
  // Whether output `i` is dense under the tile and holds plain lanes, at output_address().
  bool is_dense_output(const Tile& tile, size_t i) const;
  void* output_address(const Tile& tile, size_t i, void* data) const;
  // Converts lanes to output `i`.
  void store(const Tile& tile, size_t i, const TileOperand& value, Lane lane, void* data) const;

 private:
  struct Side {
    DType dtype = DType::F32;
    Lane lane = Lane::F32;
    bool is_plain = false;  // The dtype is that of its lane.
    int64_t item = 4, lane_item = 4;
    Dims strides;                            // Over dims_.
    StridedCopy::RowFunction row = nullptr;  // From the dtype to its lane or, of outputs, back.
  };
  int64_t offset(const Side& side, const Tile& tile) const;
  bool is_dense(const Side& side, const Tile& tile) const;

  Dims dims_;  // At least two: ..., rows, columns.
  std::vector<Side> inputs_, outputs_;
  int64_t tile_rows_ = 1, tile_columns_ = 1;
  int64_t row_tiles_ = 1, column_tiles_ = 1, tile_count_ = 0;
};

}  // namespace regraft::cpu
