#include "backends/reference/run/backend.h"

#include <algorithm>

#include "backends/kernel_support.h"
#include "backends/kernel_table.h"
#include "backends/reference/run/kernel.h"

namespace regraft::reference {

#define REGRAFT_KERNEL_FILE(file) extern const KernelFile k_kernels_##file;
#include "backends/reference/kernel_list.inc"
#undef REGRAFT_KERNEL_FILE

namespace {

KernelFunction find_kernel(std::string_view op) {
  static const backends::KernelTable<KernelDef> kernels = {
#define REGRAFT_KERNEL_FILE(file) k_kernels_##file,
#include "backends/reference/kernel_list.inc"
#undef REGRAFT_KERNEL_FILE
  };
  const KernelDef* const def = kernels.find(op);
  return def == nullptr ? nullptr : def->run;
}

class ReferenceKernel final : public backends::Kernel {
 public:
  ReferenceKernel(KernelFunction function, const backends::KernelRequest& request)
      : function_(function), attributes_(request.attributes) {
    for (const backends::Operand& operand : request.inputs) {
      inputs_.push_back(operand.present
                            ? TensorView(nullptr, operand.dtype, operand.dims, operand.strides)
                            : Call::absent());
    }
    for (const backends::Operand& operand : request.outputs) {
      outputs_.emplace_back(nullptr, operand.dtype, operand.dims, operand.strides);
    }
  }

  void run(const backends::KernelArguments& arguments) const override {
    std::vector<TensorView> inputs = inputs_;
    std::vector<MutableTensorView> outputs = outputs_;
    for (size_t i = 0; i < inputs.size(); ++i)
      inputs[i].data = arguments.inputs[i];
    for (size_t i = 0; i < outputs.size(); ++i)
      outputs[i].data = arguments.outputs[i];
    function_(Call(inputs, outputs, attributes_));
  }
  std::string tactic() const override { return "reference"; }

 private:
  KernelFunction function_;
  Attributes attributes_;
  std::vector<TensorView> inputs_;
  std::vector<MutableTensorView> outputs_;
};

class ReferenceBackend final : public backends::RunBackend {
 public:
  std::string_view name() const override { return "reference"; }

  std::unique_ptr<backends::Kernel> prepare(const backends::KernelRequest& request) const override {
    const std::string_view op = backends::op_name(request);
    const KernelFunction function = find_kernel(op);
    if (function == nullptr) {
      base::fail("backends", ErrorCode::Unsupported, "reference has no kernel for '", op, "'");
    }
    return std::make_unique<ReferenceKernel>(function, request);
  }
};

}  // namespace

Dims broadcast_strides(const TensorView& view, const Dims& dims) {
  Dims strides(dims.size(), 0);
  const size_t lead = dims.size() - std::min(dims.size(), view.dims.size());
  for (size_t i = 0; i < view.dims.size(); ++i) {
    const bool fits = view.dims.size() <= dims.size();
    if (fits && view.dims[i] == dims[lead + i]) {
      strides[lead + i] = view.strides[i];
    } else if (!fits || view.dims[i] != 1) {
      base::fail("engine", ErrorCode::InvalidArgument, "cannot broadcast ", to_string(view.dims),
                 " to ", to_string(dims));
    }
  }
  return strides;
}

const backends::RunBackend& run_backend() {
  static const ReferenceBackend backend;
  return backend;
}

}  // namespace regraft::reference
