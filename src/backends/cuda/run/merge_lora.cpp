#include "backends/cuda/run/merge_lora.h"

#include <bit>

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/work_table.h"
#include "base/text.h"

namespace regraft::cuda {
namespace {

constexpr int64_t kTile = 64, kTilesOfBlock = 4;  // Of run/cu/merge_lora.cu.

uint64_t kind_of(DType dtype) {
  return dtype == DType::F16 ? 0 : dtype == DType::BF16 ? 1 : dtype == DType::F32 ? 2 : 3;
}

void add_term(std::vector<uint64_t>& words, const LoraTerm& term) {
  // Transposed: (B A)^T = A^T B^T.
  const TensorView& left = term.transposed ? term.a : term.b;
  const TensorView& right = term.transposed ? term.b : term.a;
  const size_t outer = term.transposed ? 1 : 0, inner = 1 - outer;
  const auto add = [&](auto word) { words.push_back(static_cast<uint64_t>(word)); };
  words.push_back(reinterpret_cast<uint64_t>(left.data));
  words.push_back(reinterpret_cast<uint64_t>(right.data));
  add(left.strides[outer]);
  add(left.strides[inner]);
  add(right.strides[outer]);
  add(right.strides[inner]);
  add(term.a.dims[0]);
  add(std::bit_cast<uint32_t>(term.scale));
  add(kind_of(left.dtype) | kind_of(right.dtype) << 2);
}

}  // namespace

void merge_lora(CudaDevice& device, std::span<const backends::LoraMerge> merges) {
  WorkTable table;
  std::vector<uint64_t> words;
  for (const backends::LoraMerge& merge : merges) {
    const int64_t rows = merge.base.dims[0], columns = merge.base.dims[1];
    words = {kind_of(merge.base.dtype),
             reinterpret_cast<uint64_t>(merge.base.data),
             reinterpret_cast<uint64_t>(merge.to),
             static_cast<uint64_t>(rows),
             static_cast<uint64_t>(columns),
             merge.terms.size()};
    for (const LoraTerm& term : merge.terms)
      add_term(words, term);
    constexpr int64_t kRows = kTile * kTilesOfBlock;
    table.add((rows + kRows - 1) / kRows * ((columns + kTile - 1) / kTile), words);
  }
  const std::string source = base::cat(kernel_source("prelude"), kernel_source("vectors"),
                                       kernel_source("table"), kernel_source("merge_lora"));
  WorkTable::launch(device, device.function(source), {&table, 1});
}

}  // namespace regraft::cuda
