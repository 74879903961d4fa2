#include "engine/step_work.h"

#include <span>
#include <string_view>

#include "backends/kernel_support.h"

namespace regraft::engine {
namespace {

using backends::KernelRequest;
using backends::Operand;

uint64_t bytes_of(std::span<const Operand> operands) {
  uint64_t bytes = 0;
  for (const Operand& operand : operands) {
    if (!operand.present) continue;
    uint64_t count = 1;
    for (size_t d = 0; d < operand.dims.size(); ++d) {
      const bool repeats = d < operand.strides.size() && operand.strides[d] == 0;
      count *= repeats && operand.dims[d] > 0 ? 1 : static_cast<uint64_t>(operand.dims[d]);
    }
    bytes += count * item_size(operand.dtype);
  }
  return bytes;
}

uint64_t count(const Operand& operand) { return static_cast<uint64_t>(numel(operand.dims)); }

// Of a weight [out, in, ...] for one element of the other side: what it is multiplied with.
uint64_t taps(const Operand& weight) {
  uint64_t taps = 1;
  for (size_t d = 1; d < weight.dims.size(); ++d)
    taps *= static_cast<uint64_t>(weight.dims[d]);
  return taps;
}

// Pairs of factors.
uint64_t products_of(const KernelRequest& request) {
  const std::string_view op = backends::op_name(request);
  const auto& in = request.inputs;
  if (request.outputs.empty() || in.size() < 2 || !in[0].present || !in[1].present) return 0;
  const Operand& out = request.outputs[0];
  if (op == "convolution") {
    const bool is_transposed =
        !request.attributes.is_none("transposed") && request.attributes.flag("transposed");
    return count(is_transposed ? in[0] : out) * taps(in[1]);
  }
  if ((op == "linear" || op == "matmul") && !in[0].dims.empty()) {
    return count(out) * static_cast<uint64_t>(in[0].dims.back());
  }
  if (op == "scaled_dot_product_attention" && in[1].dims.size() > 1) {
    // The scores, then the values that they weigh.
    const auto keys = static_cast<uint64_t>(in[1].dims[in[1].dims.size() - 2]);
    return (count(in[0]) + count(out)) * keys;
  }
  return 0;
}

}  // namespace

StepWork work_of(const KernelRequest& request) {
  StepWork work;
  work.bytes = bytes_of(request.inputs) + bytes_of(request.outputs);
  work.flops = 2 * products_of(request);
  if (work.flops > 0) {
    const bool is_tf32 = request.inputs[0].dtype == DType::F32 &&
                         !request.attributes.is_none("tf32") && request.attributes.flag("tf32");
    work.kind = is_tf32 ? "tf32" : std::string(name(request.inputs[0].dtype));
  }
  return work;
}

}  // namespace regraft::engine
