#pragma once

#include <cstdint>
#include <vector>

#include "backends/cpu/run/isa.h"
#include "backends/cpu/run/packed_layout.h"

namespace regraft::cpu {

// Partner of a row whose target interleaves two rows; see PackTile.
inline constexpr int32_t kIsPartner = 0;   // Written with the row before it.
inline constexpr int32_t kNoPartner = -1;  // Its partner is padding.

// A block of rows to be packed. A row is a run of 16 lanes of the target.
struct PackTile {
  const void* source;          // Element of lane 0 that the source rows are relative to.
  void* target;                // Likewise.
  const int64_t* source_rows;  // Offsets in elements, one per row.
  const int64_t* target_rows;
  // Per row, for interleaved targets: how many rows further on its partner is, or a constant above.
  // Null: dense rows.
  const int32_t* partners;
  const int64_t* runs;  // Per row: how many rows from this one on are neighbours in the source.
  int64_t rows;
  int64_t lanes;        // 0 to 16 that exist; the others are written as zeros.
  int64_t lane_stride;  // Of the source, in elements.
  const float* scale;   // Per lane: what its values are multiplied by first. Null: nothing.
  bool streaming;       // Write around the caches; finish_streaming() is the caller's.
};

// Packs one tile; staging holds 16 floats per row.
using PackTileFunction = void (*)(const PackTile& tile, float* staging);
// For sources and targets of f32 or bf16; null for any other source. Values are rounded to
// `through` before they are stored as `to`.
PackTileFunction pack_tile_function(DType from, DType through, DType to, Isa isa);

// Packs a tensor of fixed dims, strides and dtype into a PackedLayout, converting the dtype on the
// way: one read and one write. A target that consists of runs of 16 lanes along one dimension (16
// output channels), dense or interleaved with their neighbours along another (bf16 pairs), is
// written tile by tile; any other target element by element.
class Packer {
 public:
  // `through` is the constant's dtype: values are rounded to it before they take the layout's.
  Packer(const backends::Operand& from, DType through, const PackedLayout& layout);

  // Whether run() can multiply by `scale`: f32 of the source's rank that differs along the lanes
  // only (a factor per output channel).
  bool takes_scale(const backends::Operand& scale) const;

  // Parallel; bits do not depend on the number of threads. The product with `scale`, if there is
  // one, is taken in f32.
  void run(const void* source, void* target, const float* scale = nullptr) const;

 private:
  struct Lanes {
    size_t dim;
    std::optional<size_t> pair_dim;
  };
  std::optional<Lanes> find_lanes() const;
  void tabulate();
  void run_elements(const void* source, void* target) const;
  void run_tiles(const void* source, void* target, const float* scale) const;

  PackedLayout layout_;
  DType from_, through_;
  Dims strides_;                              // Of the source, per dimension of the layout.
  std::vector<std::vector<int64_t>> target_;  // Offsets per dimension.
  std::optional<Lanes> lanes_;
  PackTileFunction tile_ = nullptr;
  std::vector<int64_t> source_rows_, target_rows_, runs_;
  std::vector<int32_t> partners_;
  std::vector<int64_t> padding_rows_;  // Target rows of nothing but padding.
  bool aligned_rows_ = false;          // Every target row begins at a multiple of its length.
  int64_t row_period_ = 1;             // Tiles hold a multiple of this many rows.
};

}  // namespace regraft::cpu
