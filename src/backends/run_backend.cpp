#include "backends/run_backend.h"

#include "backends/cpu/run/backend.h"
#ifdef REGRAFT_CUDA
#include "backends/cuda/run/backend.h"
#endif
#include "backends/reference/run/backend.h"
#include "base/fail.h"
#include "tensor/copy.h"

namespace regraft::backends {
namespace {

class CopyKernel final : public Kernel {
 public:
  CopyKernel(Operand from, DType to) : from_(std::move(from)), to_(to) {}

  void run(const KernelArguments& arguments) const override {
    copy(TensorView(arguments.inputs[0], from_.dtype, from_.dims, from_.strides),
         MutableTensorView(arguments.outputs[0], to_, from_.dims));
  }
  std::string tactic() const override { return "copy"; }

 private:
  Operand from_;
  DType to_;
};

std::span<const RunBackend* const> backends() {
  static const RunBackend* const kBackends[] = {
      &reference::run_backend(),
      &cpu::run_backend(),
#ifdef REGRAFT_CUDA
      &cuda::run_backend(),
#endif
  };
  return kBackends;
}

}  // namespace

Packing RunBackend::choose_packing(const KernelRequest& request, size_t input) const {
  const Operand& operand = request.inputs[input];
  return {"plain", static_cast<size_t>(numel(operand.dims)) * item_size(operand.dtype)};
}

std::unique_ptr<Kernel> RunBackend::prepare_packing(Device& /*device*/, const Operand& from,
                                                    DType to, const Packing& packing) const {
  if (!packing.is_plain()) {
    base::fail("backends", ErrorCode::Unsupported, name(), ": unknown packing '", packing.id, "'");
  }
  return std::make_unique<CopyKernel>(from, to);
}

Device& RunBackend::device(std::string_view wanted) const {
  if (!wanted.empty() && wanted != "cpu") {
    base::fail("backends", ErrorCode::InvalidArgument, "the backend ", name(),
               " works on the device cpu, not on '", wanted, "'");
  }
  return host_device();
}

std::unique_ptr<Kernel> RunBackend::prepare_packed_step(const KernelRequest& /*request*/,
                                                        DType /*to*/,
                                                        const Packing& /*packing*/) const {
  return nullptr;
}

std::unique_ptr<KernelGroup> RunBackend::group(Device& /*device*/,
                                               std::span<const Kernel* const> /*kernels*/) const {
  return nullptr;
}

const RunBackend& run_backend(std::string_view kernel) {
  const std::string_view wanted = kernel.substr(0, kernel.find('.'));
  for (const RunBackend* backend : backends()) {
    if (backend->name() == wanted) return *backend;
  }
  base::fail("backends", ErrorCode::Unsupported, "no backend '", wanted, "' in this build; it has ",
             base::join(run_backend_names(), ", "));
}

std::vector<std::string> run_backend_names() {
  std::vector<std::string> names;
  for (const RunBackend* backend : backends())
    names.emplace_back(backend->name());
  return names;
}

}  // namespace regraft::backends
