#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/run/cuda_device.h"

namespace regraft::cuda {

// A tensor of a cuDNN graph: [N, C, spatial...] with its strides.
struct CudnnTensor {
  DType dtype = DType::F32;
  Dims dims;
  Dims strides;
  size_t alignment = 16;
};

// A convolution, and what cuDNN may do to its result: y = relu?(conv(x, w) + z? + bias?).
struct CudnnProblem {
  CudnnTensor x, w, y;
  bool transposed = false;  // The gradient of a convolution by its input.
  Dims stride, padding, padding_end, dilation;
  std::optional<CudnnTensor> z, bias;
  bool relu = false;
  bool tf32 = false;  // Of f32: may be calculated in TF32.
};

// Descriptors that belong together, destroyed last made first.
class CudnnDescriptors {
 public:
  CudnnDescriptors() = default;
  ~CudnnDescriptors();
  CudnnDescriptors(const CudnnDescriptors&) = delete;
  CudnnDescriptors& operator=(const CudnnDescriptors&) = delete;
  // Null where cuDNN gives none.
  cudnnDescriptor create(CudnnKind kind);

 private:
  std::vector<cudnnDescriptor> made_;
};

// An execution plan that is deterministic and does not lower the precision. Immutable.
class CudnnConvolution {
 public:
  // The plans of cuDNN's heuristics, best guess first: at most `most`, or only that whose tactic is
  // `only` if it is not empty. None where cuDNN has no such plan.
  static std::vector<std::unique_ptr<CudnnConvolution>> make(CudaDevice& device,
                                                             const CudnnProblem& problem,
                                                             size_t most,
                                                             std::string_view only = {});
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;

  // z and bias are null where the problem has none.
  void run(const void* x, const void* w, void* y, const void* z, const void* bias, void* workspace,
           Stream stream) const;
  size_t workspace_bytes() const { return workspace_bytes_; }
  const std::string& tactic() const { return tactic_; }

 private:
  explicit CudnnConvolution(CudaDevice& device) : device_(device) {}
  CudaDevice& device_;
  std::shared_ptr<CudnnDescriptors> graph_;  // Shared by the plans of a problem.
  CudnnDescriptors own_;
  cudnnDescriptor plan_ = nullptr;
  size_t workspace_bytes_ = 0;
  std::string tactic_;
  friend class CudnnBuilder;
};

// All that a plan's speed depends on.
std::string text(const CudnnProblem& problem);

}  // namespace regraft::cuda
