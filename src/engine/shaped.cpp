#include "engine/shaped.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"

namespace regraft::engine {
namespace {

bool is_static(plan::StorageKind kind) {
  using plan::StorageKind;
  return kind == StorageKind::Parameter || kind == StorageKind::Constant ||
         kind == StorageKind::Weight;
}

Shaped shape(const plan::Plan& plan, const SymbolValues& values, bool statics_only,
             backends::Device& device) {
  Shaped shaped;
  shaped.device = &device;
  shaped.values = values;
  shaped.storage_bytes.resize(plan.storages.size());
  shaped.buffers.resize(plan.buffers.size());
  for (size_t i = 0; i < plan.storages.size(); ++i) {
    if (statics_only && !is_static(plan.storages[i].kind)) continue;
    shaped.storage_bytes[i] = plan::storage_bytes(plan.storages[i], values);
  }
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    const plan::Buffer& buffer = plan.buffers[i];
    if (statics_only && !is_static(plan.storages[buffer.storage].kind)) continue;
    shaped.buffers[i] = plan::place(buffer, shaped.storage_bytes[buffer.storage], values);
  }
  return shaped;
}

}  // namespace

Shaped shape_statics(const plan::Plan& plan, backends::Device& device) {
  return shape(plan, {}, true, device);
}

Shaped shape_all(const plan::Plan& plan, const SymbolValues& values, backends::Device& device) {
  return shape(plan, values, false, device);
}

backends::Operand operand_of(const plan::Placed& buffer) {
  backends::Operand operand;
  operand.present = true;
  operand.dtype = buffer.dtype;
  operand.dims = buffer.dims;
  operand.strides = buffer.strides;
  // Storages begin at multiples of 16 at least.
  constexpr int64_t kMost = 16;
  operand.alignment = static_cast<size_t>(std::gcd(kMost, buffer.offset_bytes));
  operand.packing.bytes = static_cast<size_t>(numel(buffer.dims)) * item_size(buffer.dtype);
  return operand;
}

backends::KernelRequest request_of(const plan::Plan& plan, const plan::Step& step,
                                   const Shaped& shaped) {
  backends::KernelRequest request{
      step, step.attributes.resolved(shaped.values), {}, {}, shaped.device, false};
  for (const int32_t input : step.inputs) {
    if (input < 0) {
      request.inputs.emplace_back();
      continue;
    }
    request.inputs.push_back(operand_of(shaped.buffers[input]));
    request.inputs.back().is_constant = plan.storage_of(input).kind == plan::StorageKind::Constant;
  }
  for (const int32_t output : step.outputs) {
    request.outputs.push_back(operand_of(shaped.buffers[output]));
  }
  return request;
}

std::unique_ptr<backends::Kernel> prepare(const backends::KernelRequest& request) {
  const plan::Step& step = request.step;
  try {
    return backends::run_backend(step.kernel).prepare(request);
  } catch (const Error& error) {
    base::fail(error.stage(), error.code(), step.kernel,
               step.origin.empty() ? "" : " (" + step.origin + ")", ": ", error.what());
  }
}

}  // namespace regraft::engine
