#include "backends/cuda/run/host_kernel.h"

namespace regraft::cuda {
namespace {

// Bytes from the first to behind the last element of an operand.
size_t reach(const Operand& operand) {
  if (!operand.present || numel(operand.dims) == 0) return 0;
  int64_t last = 0;
  for (size_t d = 0; d < operand.dims.size(); ++d)
    last += (operand.dims[d] - 1) * operand.strides[d];
  return static_cast<size_t>(last + 1) * item_size(operand.dtype);
}

class HostKernel final : public Kernel {
 public:
  HostKernel(CudaDevice& device, std::unique_ptr<Kernel> kernel, const KernelRequest& request)
      : device_(device), kernel_(std::move(kernel)) {
    for (const Operand& operand : request.inputs)
      inputs_.push_back(reach(operand));
    for (const Operand& operand : request.outputs)
      outputs_.push_back(reach(operand));
  }

  void run(const KernelArguments& arguments) const override {
    std::vector<std::shared_ptr<std::byte>> memory;
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    const auto make = [&](size_t bytes, const void* from) {
      memory.push_back(backends::host_device().allocate(bytes));
      if (from != nullptr) device_.copy(memory.back().get(), from, bytes, arguments.stream);
      return memory.back().get();
    };
    for (size_t i = 0; i < inputs_.size(); ++i)
      inputs.push_back(make(inputs_[i], arguments.inputs[i]));
    // Strided outputs keep what lies between their elements.
    for (size_t i = 0; i < outputs_.size(); ++i)
      outputs.push_back(make(outputs_[i], arguments.outputs[i]));
    device_.synchronise(arguments.stream);
    kernel_->run({inputs, outputs, nullptr, nullptr});
    for (size_t i = 0; i < outputs_.size(); ++i)
      device_.copy(arguments.outputs[i], outputs[i], outputs_[i], arguments.stream);
    device_.synchronise(arguments.stream);
  }
  bool waits() const override { return true; }
  std::string tactic() const override { return "host"; }

 private:
  CudaDevice& device_;
  std::unique_ptr<Kernel> kernel_;
  std::vector<size_t> inputs_, outputs_;
};

}  // namespace

std::unique_ptr<Kernel> try_prepare_on_host(CudaDevice& device, const KernelRequest& request) {
  if (!request.may_wait) return nullptr;
  auto kernel = backends::try_prepare_reference(request);
  if (kernel == nullptr) return nullptr;
  return std::make_unique<HostKernel>(device, std::move(kernel), request);
}

}  // namespace regraft::cuda
