#pragma once

#include <map>
#include <mutex>
#include <span>
#include <string>

#include "backends/cuda/run/api/cublaslt.h"
#include "backends/cuda/run/api/cudnn.h"
#include "backends/cuda/run/api/driver.h"
#include "backends/cuda/run/pinned_ring.h"
#include "backends/device.h"

namespace regraft::cuda {

using backends::Stream;

inline CUstream as_stream(Stream stream) { return static_cast<CUstream>(stream); }
inline CUdeviceptr as_pointer(const void* data) { return reinterpret_cast<CUdeviceptr>(data); }

// One GPU: its primary context, which PyTorch uses too, and what is loaded into it. Lives until the
// process ends. Thread-safe.
class CudaDevice final : public backends::Device {
 public:
  explicit CudaDevice(int ordinal);
  // A device that only compiles kernels, for `arch` ("sm_90"): needs no GPU and no driver. Its
  // kernels do nothing.
  explicit CudaDevice(std::string arch);

  std::string_view name() const override { return name_; }
  std::string facts() const override;
  size_t memory_bytes() const override { return memory_bytes_; }
  std::shared_ptr<std::byte> allocate(size_t bytes) override;
  std::shared_ptr<std::byte> allocate_pinned(size_t bytes) override;
  bool holds(const void* data) const override;
  backends::Allocation allocation_of(const void* data) const override;
  Stream work_stream() const override { return work_stream_; }
  void copy(void* to, const void* from, size_t bytes, Stream stream) override;
  void convert(const TensorView& from, const MutableTensorView& to, Stream stream) override;
  std::unique_ptr<backends::Upload> begin_upload() override;
  void copy_blocks(std::span<const backends::BlockCopy> blocks) override;
  void clear(void* to, size_t bytes, Stream stream) override;
  void count_non_finite(std::span<const TensorView> tensors,
                        std::span<uint64_t* const> counters) override;
  std::unique_ptr<backends::Recording> repeat_copies(
      std::span<const backends::BlockCopy> blocks) override;
  std::unique_ptr<backends::Recording> repeat_counts(std::span<const TensorView> tensors,
                                                     std::span<uint64_t* const> counters) override;
  void merge_lora(std::span<const backends::LoraMerge> merges) override;
  void synchronise(Stream stream) override;
  void synchronise_all() override;
  std::shared_ptr<backends::Event> make_event() override;
  std::unique_ptr<backends::Laps> make_laps(size_t points) override;
  std::unique_ptr<backends::Laps> try_make_exact_laps(size_t points) override;
  bool is_recording(Stream stream) const override;
  std::unique_ptr<backends::Recording> record_side_by_side(
      std::span<const Enqueue> branches) override;
  void enter() const override;
  void leave() const noexcept override;

  int multiprocessors() const { return multiprocessors_; }
  // Nothing can be timed.
  bool only_compiles() const { return ordinal_ < 0; }
  // "sm_90"
  const std::string& arch() const { return arch_; }
  // Whether a kernel can begin before the one that it waits for has ended.
  bool launches_early() const { return launches_early_; }
  // The function `run` of a source, compiled once for this device.
  CUfunction function(const std::string& source);

  // Copies the bytes to memory of the device and calls `use` with it, for what it enqueues to the
  // work stream; what is enqueued after that may find other bytes there.
  void with_table(std::span<const std::byte> bytes,
                  const std::function<void(const std::byte*)>& use);
  // The same with pinned memory, without a copy.
  void with_pinned_table(std::span<const std::byte> bytes,
                         const std::function<void(const std::byte*)>& use);

  // For copies that the work stream waits for.
  Stream copy_stream() const { return copy_stream_; }
  // Uploads of anything to the work stream, without a kernel, whose table is an upload itself.
  void upload_in_copies(std::span<const backends::BlockCopy> blocks);

  // Lets the function use this much shared memory in a launch.
  void allow_shared(CUfunction function, unsigned bytes);

  // The library handles; cuBLASLt's may be used from several threads.
  cublasLtHandle cublaslt_handle();
  // cuDNN's belongs to one thread at a time: hold the lock from setting the stream to executing.
  cudnnHandle cudnn_handle();
  std::mutex& cudnn_mutex() { return cudnn_mutex_; }

 private:
  // Throws Error{Mismatch} for another device's memory.
  void want_own(int ordinal) const;

  int ordinal_ = -1;
  std::string name_, chip_, arch_;
  size_t memory_bytes_ = 0;
  int multiprocessors_ = 0;
  bool launches_early_ = false;
  CUcontext context_ = nullptr;
  CUstream work_stream_ = nullptr, copy_stream_ = nullptr, record_stream_ = nullptr,
           urgent_record_stream_ = nullptr;
  std::mutex functions_mutex_, handles_mutex_, cudnn_mutex_, record_mutex_, table_mutex_,
      ring_mutex_;
  struct PinnedTable {
    std::shared_ptr<std::byte> memory;
    size_t bytes = 0;
    std::shared_ptr<backends::Event> read;
  };
  std::shared_ptr<std::byte> table_;
  size_t table_bytes_ = 0;
  PinnedTable pinned_table_;
  std::unique_ptr<PinnedRing> ring_;
  std::map<std::string, CUfunction, std::less<>> functions_;  // By digest of the source.
  cublasLtHandle cublaslt_ = nullptr;
  cudnnHandle cudnn_ = nullptr;
};

// The device of a name: "cuda" (the first), "cuda:1". Throws Error{"cuda", Unsupported,
// InvalidArgument}.
CudaDevice& cuda_device(std::string_view name);

}  // namespace regraft::cuda
