#pragma once

#include <memory>
#include <span>

#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {

// Copies of memory of any kind to a device, each the fastest way for it: large pieces of pinned
// memory in batches on a stream beside, small ones by a kernel that reads them over the bus, which
// fills the time that each copy takes to begin, and pageable ones through the pinned ring.
class CudaUpload final : public backends::Upload {
 public:
  explicit CudaUpload(CudaDevice& device);
  ~CudaUpload() override;
  CudaUpload(const CudaUpload&) = delete;
  CudaUpload& operator=(const CudaUpload&) = delete;
  void add(std::span<const backends::BlockCopy> blocks) override;
  void finish() override;

 private:
  void begin_copies();

  CudaDevice& device_;
  // Where the copy stream leaves the work stream and where it comes back; null: it has not left.
  std::shared_ptr<backends::Event> fork_, join_;
};

}  // namespace regraft::cuda
