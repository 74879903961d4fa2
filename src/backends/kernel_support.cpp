#include "backends/kernel_support.h"

#include <algorithm>

namespace regraft::backends {

std::unique_ptr<Kernel> try_prepare_reference(const KernelRequest& request) {
  const std::string_view op = op_name(request);
  const bool is_fused =
      !request.attributes.is_none("epilogue") && !request.attributes.text("epilogue").empty();
  const bool is_packed = std::any_of(
      request.inputs.begin(), request.inputs.end(),
      [](const Operand& input) { return input.is_constant && !input.packing.is_plain(); });
  if (is_fused || is_packed || op == "pointwise" || op == "copy") return nullptr;
  plan::Step step = request.step;
  step.kernel = base::cat("reference.", op);
  KernelRequest renamed{step, request.attributes, request.inputs, request.outputs};
  renamed.attributes.erase("epilogue");
  return run_backend(step.kernel).prepare(renamed);
}

}  // namespace regraft::backends
