#include "backends/cuda/run/copy_blocks.h"

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/work_table.h"
#include "base/text.h"

namespace regraft::cuda {

void copy_blocks(CudaDevice& device, std::span<const backends::BlockCopy> blocks) {
  constexpr size_t kPiece = size_t{1} << 16;
  WorkTable table;
  for (const backends::BlockCopy& block : blocks) {
    const uint64_t words[] = {reinterpret_cast<uint64_t>(block.to),
                              reinterpret_cast<uint64_t>(block.from), block.bytes};
    table.add(static_cast<int64_t>((block.bytes + kPiece - 1) / kPiece), words);
  }
  const std::string source =
      base::cat(kernel_source("prelude"), kernel_source("table"), kernel_source("copy_blocks"));
  WorkTable::launch(device, device.function(source), {&table, 1});
}

}  // namespace regraft::cuda
