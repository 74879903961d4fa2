#pragma once

#include <algorithm>
#include <complex>
#include <cstdint>
#include <vector>

#include "tensor/convert.h"

namespace regraft::reference {

// A matrix in memory, read as the compute type C: element (i, j) at data[i * row + j * column].
template <typename C, typename T>
struct Matrix {
  const T* data;
  int64_t row;
  int64_t column;

  C operator()(int64_t i, int64_t j) const { return convert<C>(data[i * row + j * column]); }
};

// Rows [row, row + rows) and columns [column, column + columns) of a result.
struct Tile {
  int64_t row, rows;
  int64_t column, columns;
};

// A result of `rows` x `columns` cut into tiles: the unit of parallel work.
class Tiling {
 public:
  Tiling(int64_t rows, int64_t columns, int64_t tile_rows = 64, int64_t tile_columns = 64)
      : rows_(rows), columns_(columns), tile_rows_(tile_rows), tile_columns_(tile_columns) {}

  int64_t count() const { return across() * ((rows_ + tile_rows_ - 1) / tile_rows_); }
  Tile at(int64_t index) const {
    const int64_t row = index / across() * tile_rows_;
    const int64_t column = index % across() * tile_columns_;
    return {row, std::min(tile_rows_, rows_ - row), column,
            std::min(tile_columns_, columns_ - column)};
  }

 private:
  int64_t across() const { return (columns_ + tile_columns_ - 1) / tile_columns_; }
  int64_t rows_, columns_, tile_rows_, tile_columns_;
};

inline constexpr int64_t kPanelRows = 4;
inline constexpr int64_t kPanelColumns = 8;

// sums[i][j] += sum over p < depth of a[p][i] * b[p][j], in the order of p; i < kPanelRows,
// j < kPanelColumns, rows of `sums` are `stride` apart. The bits do not depend on the processor.
void multiply_panels(const double* a, const double* b, int64_t depth, double* sums, int64_t stride);

template <typename C>
void multiply_panels(const C* a, const C* b, int64_t depth, C* sums, int64_t stride) {
  for (int64_t p = 0; p < depth; ++p) {
    for (int64_t i = 0; i < kPanelRows; ++i) {
      for (int64_t j = 0; j < kPanelColumns; ++j) {
        sums[i * stride + j] += a[p * kPanelRows + i] * b[p * kPanelColumns + j];
      }
    }
  }
}

// Multiplies tiles of matrices. Keeps its buffers between calls; one per thread.
template <typename C>
class Multiplier {
 public:
  // Calls store(i, j, sum over p < depth of a(i, p) * b(p, j)) for every (i, j) of the tile.
  // Sums run in the order of p, so results do not depend on the tiling.
  template <typename A, typename B, typename Store>
  void multiply(const Tile& tile, int64_t depth, const A& a, const B& b, const Store& store) {
    const int64_t columns = panels(tile.columns, kPanelColumns) * kPanelColumns;
    sums_.assign(panels(tile.rows, kPanelRows) * kPanelRows * columns, C(0));
    for (int64_t begin = 0; begin < depth; begin += kDepth) {
      const int64_t end = std::min(depth, begin + kDepth);
      pack<kPanelRows>(a_, tile.row, tile.rows, begin, end,
                       [&](int64_t i, int64_t p) { return a(i, p); });
      pack<kPanelColumns>(b_, tile.column, tile.columns, begin, end,
                          [&](int64_t j, int64_t p) { return b(p, j); });
      multiply_packed(tile, end - begin, columns);
    }
    for (int64_t i = 0; i < tile.rows; ++i) {
      for (int64_t j = 0; j < tile.columns; ++j) {
        store(tile.row + i, tile.column + j, sums_[i * columns + j]);
      }
    }
  }

 private:
  static constexpr int64_t kDepth = 256;  // Packed operands of usual tiles stay in the L2 cache.

  static int64_t panels(int64_t count, int64_t width) { return (count + width - 1) / width; }

  // Panels of `Width` lines, each stored with the lines side by side; missing lines are 0.
  template <int64_t Width, typename Load>
  static void pack(std::vector<C>& out, int64_t first, int64_t count, int64_t begin, int64_t end,
                   const Load& load) {
    const int64_t depth = end - begin;
    out.assign(panels(count, Width) * Width * depth, C(0));
    for (int64_t line = 0; line < count; ++line) {
      C* to = out.data() + line / Width * Width * depth + line % Width;
      for (int64_t p = 0; p < depth; ++p)
        to[p * Width] = load(first + line, begin + p);
    }
  }

  void multiply_packed(const Tile& tile, int64_t depth, int64_t columns) {
    for (int64_t j = 0; j < tile.columns; j += kPanelColumns) {
      for (int64_t i = 0; i < tile.rows; i += kPanelRows) {
        multiply_panels(a_.data() + i * depth, b_.data() + j * depth, depth,
                        sums_.data() + i * columns + j, columns);
      }
    }
  }

  std::vector<C> a_, b_, sums_;
};

}  // namespace regraft::reference
