#include "backends/cuda/run/copy_blocks.h"

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/work_table.h"
#include "base/text.h"

namespace regraft::cuda {
namespace {

WorkTable table_of(std::span<const backends::BlockCopy> blocks) {
  constexpr size_t kPiece = size_t{1} << 16;
  WorkTable table;
  for (const backends::BlockCopy& block : blocks) {
    const uint64_t words[] = {reinterpret_cast<uint64_t>(block.to),
                              reinterpret_cast<uint64_t>(block.from), block.bytes};
    table.add(static_cast<int64_t>((block.bytes + kPiece - 1) / kPiece), words);
  }
  return table;
}

CUfunction function_of(CudaDevice& device) {
  static const std::string source =
      base::cat(kernel_source("prelude"), kernel_source("table"), kernel_source("copy_blocks"));
  return device.function(source);
}

}  // namespace

void copy_blocks(CudaDevice& device, std::span<const backends::BlockCopy> blocks) {
  const WorkTable table = table_of(blocks);
  WorkTable::launch(device, function_of(device), {&table, 1});
}

void read_blocks(CudaDevice& device, std::span<const backends::BlockCopy> blocks) {
  const WorkTable table = table_of(blocks);
  WorkTable::launch(device, function_of(device), {&table, 1}, WorkTable::Place::Pinned);
}

std::unique_ptr<backends::Recording> repeat_copies(CudaDevice& device,
                                                   std::span<const backends::BlockCopy> blocks) {
  return std::make_unique<RepeatedTables>(device, function_of(device),
                                          std::vector{table_of(blocks)});
}

}  // namespace regraft::cuda
