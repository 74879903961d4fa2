#pragma once

#include "backends/cpu/run/isa.h"
#include "regraft/tensor.h"

namespace regraft::cpu {

// Copies between two strided forms of a tensor, converting the dtype in one rounding (as
// tensor/convert.h). Transposes are blocked. The target's elements must not overlap.
class StridedCopy {
 public:
  StridedCopy() = default;
  StridedCopy(const Dims& dims, DType from, const Dims& from_strides, DType to,
              const Dims& to_strides);

  // Parallel. Does nothing for an empty tensor.
  void run(const void* source, void* target) const;
  // The same on the calling thread for one slice of the outermost loop; see outer_count().
  void run_range(const void* source, void* target, int64_t begin, int64_t end) const;
  int64_t outer_count() const { return outer_count_; }

  // Rows of the innermost loop: count elements, strides in elements.
  using RowFunction = void (*)(const void* source, int64_t source_stride, void* target,
                               int64_t target_stride, int64_t count);
  // target[j * target_stride + i] = source[j + i * source_stride] for i < rows, j < columns.
  using TileFunction = void (*)(const void* source, int64_t source_stride, void* target,
                                int64_t target_stride, int64_t rows, int64_t columns);

 private:
  void run_rows(const char* source, char* target, int64_t begin, int64_t end) const;
  void run_tiles(const char* source, char* target, int64_t begin, int64_t end) const;

  struct Loop {
    int64_t size, from, to;  // Strides in elements.
  };
  std::vector<Loop> outer_;  // Outermost first.
  Loop inner_{1, 1, 1};
  Loop across_{1, 1, 1};  // Where tiled: the dimension that is dense in the source.
  int64_t from_size_ = 4, to_size_ = 4;
  int64_t outer_count_ = 0;  // Units of parallel work: rows, or rows of tiles.
  int64_t grain_ = 1;
  RowFunction row_ = nullptr;
  TileFunction tile_ = nullptr;
};

// The row function between two dtypes.
StridedCopy::RowFunction copy_row_function(DType from, DType to);

}  // namespace regraft::cpu
