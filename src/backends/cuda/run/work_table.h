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
  // Where launches find their tables: copied to the device before them, or in pinned memory that
  // they read over the bus, for those that must not wait for other copies.
  enum class Place { Device, Pinned };
  // Enqueues one launch after the other to the device's work stream. A kernel of several tables
  // calls wait_for_table().
  static void launch(CudaDevice& device, CUfunction function, std::span<const WorkTable> tables,
                     Place place = Place::Device);

 private:
  friend class RepeatedTables;
  // All tables as one piece of memory: words, then entries.
  static std::vector<std::byte> bytes_of(std::span<const WorkTable> tables);
  // One launch for each table, of those that lie at `uploaded`. With `early`, every one but the
  // first finds its work while the one before ends.
  static void enqueue(CUfunction function, std::span<const WorkTable> tables,
                      const std::byte* uploaded, CUstream stream, bool early);

  std::vector<uint32_t> entries_;  // First block and first word of each piece.
  std::vector<uint64_t> words_;
  uint64_t blocks_ = 0;
};

// Launches whose tables stay on the device.
class RepeatedTables final : public backends::Recording {
 public:
  RepeatedTables(CudaDevice& device, CUfunction function, std::vector<WorkTable> tables);
  void launch(Stream stream) const override;

 private:
  CUfunction function_;
  std::vector<WorkTable> tables_;
  std::shared_ptr<std::byte> uploaded_;
  bool early_;
};

}  // namespace regraft::cuda
