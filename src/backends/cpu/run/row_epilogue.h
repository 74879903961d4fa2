#pragma once

#include <array>
#include <vector>

#include "backends/cpu/run/epilogue.h"

namespace regraft::cpu {

// An epilogue for kernels of our own: applied to pieces of rows of f32.
class RowEpilogue {
 public:
  // An operand's elements under the piece, f32 or bf16 as prepared; dense.
  using Operands = std::array<const void*, 8>;

  RowEpilogue() = default;
  RowEpilogue(const Epilogue& epilogue, std::span<const DType> operand_types);

  void apply(float* values, int64_t count, const Operands& operands) const;
  bool empty() const { return items_.empty(); }

 private:
  using Function = void (*)(float* values, int64_t count, const float* numbers,
                            const void* operand);
  struct Item {
    Function function;
    std::array<float, 2> numbers;
    int operand;  // -1: none.
  };
  std::vector<Item> items_;
};

// f32 values to f32 or bf16.
using StoreRow = void (*)(const float* values, void* target, int64_t count);
StoreRow store_row_function(DType type);

}  // namespace regraft::cpu
