#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "backends/run_backend.h"
#include "base/fail.h"

namespace regraft::cpu {

using backends::Kernel;
using backends::KernelArguments;
using backends::KernelRequest;
using backends::Operand;
using backends::Packing;

// One kernel of the backend: "cpu.<name>".
struct KernelDef {
  std::string_view name;
  std::unique_ptr<Kernel> (*prepare)(const KernelRequest& request);
  // The packing wanted for constant input `input`; null: always plain.
  Packing (*choose_packing)(const KernelRequest& request, size_t input) = nullptr;
};

// The kernels of one file under kernels/: `extern const KernelFile k_kernels_<file>` each.
using KernelFile = std::span<const KernelDef>;

// Throws Error{Unsupported}: "cpu.softmax: <parts>".
template <typename... Parts>
[[noreturn]] void unsupported(const KernelRequest& request, const Parts&... parts) {
  base::fail("backends", ErrorCode::Unsupported, request.step.kernel, ": ", parts...);
}

inline bool is_present(std::span<const Operand> operands, size_t i) {
  return i < operands.size() && operands[i].present;
}

// The kernel of a step whose results are empty.
class NoKernel final : public Kernel {
 public:
  void run(const KernelArguments&) const override {}
  std::string tactic() const override { return "nothing"; }
};

inline bool is_empty(const Operand& operand) { return numel(operand.dims) == 0; }

inline Packing plain_packing(const Operand& operand) {
  return {"plain", static_cast<size_t>(numel(operand.dims)) * item_size(operand.dtype)};
}

}  // namespace regraft::cpu
