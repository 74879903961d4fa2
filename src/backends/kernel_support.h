#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "backends/run_backend.h"
#include "base/fail.h"

namespace regraft::backends {

// The op of a step: "softmax" of "cpu.softmax".
inline std::string_view op_name(const KernelRequest& request) {
  const std::string_view kernel = request.step.kernel;
  return kernel.substr(kernel.find('.') + 1);
}

// Throws Error{Unsupported}: "cpu.softmax: <parts>".
template <typename... Parts>
[[noreturn]] void unsupported(const KernelRequest& request, const Parts&... parts) {
  base::fail("backends", ErrorCode::Unsupported, request.step.kernel, ": ", parts...);
}

inline bool is_present(std::span<const Operand> operands, size_t i) {
  return i < operands.size() && operands[i].present;
}

inline bool is_empty(const Operand& operand) { return numel(operand.dims) == 0; }

// The kernel of a step whose results are empty.
class NoKernel final : public Kernel {
 public:
  void run(const KernelArguments&) const override {}
  std::string tactic() const override { return "nothing"; }
};

// The reference's kernel on the host for a step of another backend. Null when the reference has no
// op of this name, or the step is more than the op: fused, or over a packed constant.
std::unique_ptr<Kernel> try_prepare_reference(const KernelRequest& request);

}  // namespace regraft::backends
