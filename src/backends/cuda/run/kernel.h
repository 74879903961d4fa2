#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "backends/cuda/run/cuda_device.h"
#include "backends/run_backend.h"
#include "base/fail.h"

namespace regraft::cuda {

using backends::Kernel;
using backends::KernelArguments;
using backends::KernelRequest;
using backends::Operand;
using backends::Packing;

// One kernel of the backend: "cuda.<name>".
struct KernelDef {
  std::string_view name;
  std::unique_ptr<Kernel> (*prepare)(CudaDevice& device, const KernelRequest& request);
  // The packing wanted for constant input `input`; null: always plain.
  Packing (*choose_packing)(const KernelRequest& request, size_t input) = nullptr;
};

// The kernels of one file under kernels/: `extern const KernelFile k_kernels_<file>` each.
using KernelFile = std::span<const KernelDef>;

// Throws Error{Unsupported}: "cuda.softmax: <parts>".
template <typename... Parts>
[[noreturn]] void unsupported(const KernelRequest& request, const Parts&... parts) {
  base::fail("backends", ErrorCode::Unsupported, request.step.kernel, ": ", parts...);
}

inline std::string_view op_name(const KernelRequest& request) {
  const std::string_view kernel = request.step.kernel;
  return kernel.substr(kernel.find('.') + 1);
}

inline bool is_present(std::span<const Operand> operands, size_t i) {
  return i < operands.size() && operands[i].present;
}

inline bool is_empty(const Operand& operand) { return numel(operand.dims) == 0; }

// `dim` in [-rank, rank) made non-negative.
inline size_t axis_of(int64_t dim, size_t rank) {
  return static_cast<size_t>(dim < 0 ? dim + static_cast<int64_t>(rank > 0 ? rank : 1) : dim);
}

// The kernel of a step whose results are empty.
class NoKernel final : public Kernel {
 public:
  void run(const KernelArguments&) const override {}
  std::string tactic() const override { return "nothing"; }
};

}  // namespace regraft::cuda
