#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {

// Pieces of work of different sizes, without order between them, as one launch of a kernel that
// begins with run/cu/table.cu: each piece has its own blocks of threads and its own arguments.
class WorkTable {
 public:
  static constexpr unsigned kThreads = 256;

  // `words` are the arguments. No blocks: no work.
  void add(int64_t blocks, std::span<const uint64_t> words);
  // Enqueues one launch after the other to the device's work stream.
  static void launch(CudaDevice& device, CUfunction function, std::span<const WorkTable> tables);

 private:
  std::vector<uint32_t> entries_;  // First block and first word of each piece.
  std::vector<uint64_t> words_;
  uint64_t blocks_ = 0;
};

}  // namespace regraft::cuda
