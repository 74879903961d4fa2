#include "backends/cuda/run/non_finite.h"

#include <algorithm>

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/work_table.h"
#include "base/text.h"

namespace regraft::cuda {
namespace {

// Two reals count for each complex element.
DType part_of(DType dtype) {
  return dtype == DType::C64 ? DType::F32 : dtype == DType::C128 ? DType::F64 : dtype;
}

// The cases of run/cu/non_finite.cu.
uint64_t kind_of(DType part) {
  constexpr DType kKinds[] = {DType::F16, DType::BF16, DType::F32, DType::F8E4M3FN, DType::F8E5M2};
  return static_cast<uint64_t>(std::find(std::begin(kKinds), std::end(kKinds), part) - kKinds);
}

WorkTable table_of(std::span<const TensorView> tensors, std::span<uint64_t* const> counters) {
  constexpr int64_t kPiece = int64_t{1} << 11;
  WorkTable table;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const DType part = part_of(tensors[i].dtype);
    if (!is_floating(part)) continue;
    const int64_t elements = tensors[i].count() * (part == tensors[i].dtype ? 1 : 2);
    const uint64_t words[] = {reinterpret_cast<uint64_t>(tensors[i].data),
                              static_cast<uint64_t>(elements),
                              reinterpret_cast<uint64_t>(counters[i]), kind_of(part)};
    table.add((elements + kPiece - 1) / kPiece, words);
  }
  return table;
}

CUfunction function_of(CudaDevice& device) {
  static const std::string source =
      base::cat(kernel_source("prelude"), kernel_source("table"), kernel_source("non_finite"));
  return device.function(source);
}

}  // namespace

void count_non_finite(CudaDevice& device, std::span<const TensorView> tensors,
                      std::span<uint64_t* const> counters) {
  const WorkTable table = table_of(tensors, counters);
  WorkTable::launch(device, function_of(device), {&table, 1});
}

std::unique_ptr<backends::Recording> repeat_counts(CudaDevice& device,
                                                   std::span<const TensorView> tensors,
                                                   std::span<uint64_t* const> counters) {
  return std::make_unique<RepeatedTables>(device, function_of(device),
                                          std::vector{table_of(tensors, counters)});
}

}  // namespace regraft::cuda
