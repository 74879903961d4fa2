#include "backends/cpu/run/pointwise_space.h"

#include <algorithm>
#include <numeric>

namespace regraft::cpu {
namespace {

// Lanes of a tile: a few tiles of f32 fit in half an L1 cache.
constexpr int64_t kTileLanes = 1024;

// Strides of an operand seen with the dims it broadcasts to.
Dims broadcast(const Operand& operand, const Dims& dims) {
  Dims strides(dims.size(), 0);
  const size_t lead = dims.size() - operand.dims.size();
  for (size_t d = 0; d < operand.dims.size(); ++d) {
    if (operand.dims[d] != 1) strides[lead + d] = operand.strides[d];
  }
  return strides;
}

}  // namespace

PointwiseSpace::PointwiseSpace(std::span<const Operand> inputs, std::span<const Operand> outputs) {
  const Dims& dims = outputs[0].dims;
  std::vector<Side*> sides;
  const auto add = [&](const Operand& operand, bool is_input) {
    Side side;
    side.dtype = operand.dtype;
    side.lane = lane_of(operand.dtype);
    const DType lane = lane_dtype(side.lane);
    side.item = static_cast<int64_t>(item_size(operand.dtype));
    side.lane_item = static_cast<int64_t>(item_size(lane));
    side.is_plain = lane == operand.dtype;
    side.row =
        is_input ? copy_row_function(operand.dtype, lane) : copy_row_function(lane, operand.dtype);
    side.strides = broadcast(operand, dims);
    (is_input ? inputs_ : outputs_).push_back(std::move(side));
  };
  for (const Operand& operand : inputs)
    add(operand, true);
  for (const Operand& operand : outputs)
    add(operand, false);
  for (Side& side : inputs_)
    sides.push_back(&side);
  for (Side& side : outputs_)
    sides.push_back(&side);

  // Outermost first in the first output's memory; sizes of 1 are dropped.
  std::vector<size_t> order;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] != 1) order.push_back(d);
  }
  const Dims key = outputs_[0].strides;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key[a] > key[b]; });
  std::vector<Dims> strides(sides.size());
  for (const size_t d : order) {
    const bool merges = !dims_.empty() && std::all_of(sides.begin(), sides.end(), [&](Side* side) {
      const Dims& merged =
          strides[static_cast<size_t>(std::find(sides.begin(), sides.end(), side) - sides.begin())];
      return merged.back() == side->strides[d] * dims[d];
    });
    if (merges) {
      dims_.back() *= dims[d];
    } else {
      dims_.push_back(dims[d]);
    }
    for (size_t s = 0; s < sides.size(); ++s) {
      if (merges) {
        strides[s].back() = sides[s]->strides[d];
      } else {
        strides[s].push_back(sides[s]->strides[d]);
      }
    }
  }
  while (dims_.size() < 2) {
    dims_.insert(dims_.begin(), 1);
    for (Dims& list : strides)
      list.insert(list.begin(), 0);
  }
  for (size_t s = 0; s < sides.size(); ++s)
    sides[s]->strides = std::move(strides[s]);

  const size_t rank = dims_.size();
  const int64_t columns = std::max<int64_t>(dims_[rank - 1], 1);
  tile_columns_ = std::min(columns, kTileLanes);
  // Rows one of which is not a whole tile are put together.
  tile_rows_ =
      columns <= kTileLanes / 2 ? std::clamp<int64_t>(dims_[rank - 2], 1, kTileLanes / columns) : 1;
  row_tiles_ = (dims_[rank - 2] + tile_rows_ - 1) / std::max<int64_t>(tile_rows_, 1);
  column_tiles_ = (dims_[rank - 1] + tile_columns_ - 1) / tile_columns_;
  tile_count_ = row_tiles_ * column_tiles_;
  for (size_t d = 0; d + 2 < rank; ++d)
    tile_count_ *= dims_[d];
}

PointwiseSpace::Tile PointwiseSpace::tile(int64_t index) const {
  const size_t rank = dims_.size();
  Tile tile;
  tile.first_column = index % column_tiles_ * tile_columns_;
  index /= column_tiles_;
  tile.first_row = index % row_tiles_ * tile_rows_;
  tile.outer = index / row_tiles_;
  tile.columns = std::min(tile_columns_, dims_[rank - 1] - tile.first_column);
  tile.rows = std::min(tile_rows_, dims_[rank - 2] - tile.first_row);
  return tile;
}

int64_t PointwiseSpace::offset(const Side& side, const Tile& tile) const {
  const size_t rank = dims_.size();
  int64_t offset =
      tile.first_column * side.strides[rank - 1] + tile.first_row * side.strides[rank - 2];
  int64_t rest = tile.outer;
  for (size_t d = rank - 2; d-- > 0;) {
    offset += rest % dims_[d] * side.strides[d];
    rest /= dims_[d];
  }
  return offset;
}

bool PointwiseSpace::is_dense(const Side& side, const Tile& tile) const {
  const size_t rank = dims_.size();
  return (side.strides[rank - 1] == 1 || tile.columns == 1) &&
         (tile.rows == 1 || side.strides[rank - 2] == tile.columns);
}

TileOperand PointwiseSpace::load(const Tile& tile, size_t i, const void* data, void* slot) const {
  const Side& side = inputs_[i];
  const size_t rank = dims_.size();
  const char* const from = static_cast<const char*>(data) + offset(side, tile) * side.item;
  const int64_t row = side.strides[rank - 2], column = side.strides[rank - 1];
  const bool is_single = (column == 0 || tile.columns == 1) && (row == 0 || tile.rows == 1);
  if (is_single) {
    if (side.is_plain) return {from, true};
    side.row(from, 1, slot, 1, 1);
    return {slot, true};
  }
  if (is_dense(side, tile)) {
    if (side.is_plain) return {from, false};
    side.row(from, 1, slot, 1, tile.count());
    return {slot, false};
  }
  char* to = static_cast<char*>(slot);
  for (int64_t r = 0; r < tile.rows; ++r) {
    side.row(from + r * row * side.item, column, to, 1, tile.columns);
    to += tile.columns * side.lane_item;
  }
  return {slot, false};
}

bool PointwiseSpace::is_dense_output(const Tile& tile, size_t i) const {
  return outputs_[i].is_plain && is_dense(outputs_[i], tile);
}

void* PointwiseSpace::output_address(const Tile& tile, size_t i, void* data) const {
  return static_cast<char*>(data) + offset(outputs_[i], tile) * outputs_[i].item;
}

void PointwiseSpace::store(const Tile& tile, size_t i, const TileOperand& value, Lane lane,
                           void* data) const {
  const Side& side = outputs_[i];
  const size_t rank = dims_.size();
  const StridedCopy::RowFunction row =
      lane == side.lane ? side.row : copy_row_function(lane_dtype(lane), side.dtype);
  char* const to = static_cast<char*>(data) + offset(side, tile) * side.item;
  const char* from = static_cast<const char*>(value.data);
  const auto step = value.is_single ? 0 : static_cast<int64_t>(lane_size(lane));
  if (is_dense(side, tile)) {
    row(from, value.is_single ? 0 : 1, to, 1, tile.count());
    return;
  }
  for (int64_t r = 0; r < tile.rows; ++r) {
    row(from, value.is_single ? 0 : 1, to + r * side.strides[rank - 2] * side.item,
        side.strides[rank - 1], tile.columns);
    from += step * tile.columns;
  }
}

}  // namespace regraft::cpu
