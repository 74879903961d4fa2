#pragma once

#include <array>
#include <span>
#include <vector>

#include "backends/cuda/run/api/driver.h"
#include "base/stream_copy.h"

namespace regraft::cuda {

// Brings pageable memory to a device at the speed of the bus: all threads copy it to pinned
// buffers, which the device reads while the next is filled. The driver's own copies of pageable
// memory use one thread and wait. Used with the device entered, by one thread at a time; lives
// until the process ends.
class PinnedRing {
 public:
  // Enqueues the copies. Memory that is pinned already is read where it lies.
  void upload(std::span<const base::BlockCopy> blocks, CUstream stream);

 private:
  static constexpr size_t kBuffers = 4, kBufferBytes = size_t{16} << 20;
  struct Buffer {
    std::byte* memory = nullptr;
    CUevent read = nullptr;
    bool is_used = false;
  };
  void add(const base::BlockCopy& block, CUstream stream);
  void flush(CUstream stream);
  Buffer& current();

  std::array<Buffer, kBuffers> buffers_;
  size_t next_ = 0, filled_ = 0;
  // Of the current buffer: into it, and from it.
  std::vector<base::BlockCopy> in_, out_;
};

}  // namespace regraft::cuda
