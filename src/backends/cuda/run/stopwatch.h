#pragma once

#include <optional>
#include <span>
#include <vector>

#include "backends/cuda/run/tuner.h"

namespace regraft::cuda {

// Times candidates on operands of random numbers. Constants are read from another place in each
// repetition, as a model with many layers does. For one thread.
class Stopwatch {
 public:
  // Throws Error{OutOfMemory}.
  Stopwatch(CudaDevice& device, const KernelRequest& request,
            std::span<const Candidate> candidates);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  // The median in milliseconds of one run inside of a recorded graph; nothing where the candidate
  // does not run. Stops early when it is clearly slower than `least` (0: nothing to compare with).
  std::optional<double> time(const Candidate& candidate, double least);

 private:
  struct Arguments {
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
  };
  void fill(std::byte* to, size_t bytes, DType dtype);
  KernelArguments arguments(size_t repetition, Stream stream) const;
  double replay(const backends::Recording& recording) const;

  CudaDevice& device_;
  std::vector<std::shared_ptr<std::byte>> memory_;
  std::vector<Arguments> arguments_;
  void* workspace_ = nullptr;
  CUevent begin_ = nullptr, end_ = nullptr;
};

}  // namespace regraft::cuda
