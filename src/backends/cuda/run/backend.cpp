#include "backends/cuda/run/backend.h"

#include <algorithm>

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/host_kernel.h"
#include "backends/cuda/run/kernel.h"
#include "backends/cuda/run/kernel_group.h"
#include "backends/cuda/run/packing.h"
#include "backends/cuda/run/pointwise.h"
#include "backends/kernel_table.h"

namespace regraft::cuda {

#define REGRAFT_KERNEL_FILE(file) extern const KernelFile k_kernels_##file;
#include "backends/cuda/kernel_list.inc"
#undef REGRAFT_KERNEL_FILE

namespace {

const KernelDef& kernel_of(const KernelRequest& request) {
  static const backends::KernelTable<KernelDef> kernels = {
#define REGRAFT_KERNEL_FILE(file) k_kernels_##file,
#include "backends/cuda/kernel_list.inc"
#undef REGRAFT_KERNEL_FILE
  };
  const KernelDef* const def = kernels.find(op_name(request));
  if (def == nullptr) {
    base::fail("backends", ErrorCode::Unsupported, "no kernel '", request.step.kernel,
               "' in this build");
  }
  return *def;
}

CudaDevice& device_of(backends::Device& device) {
  if (device.is_host()) {
    base::fail("backends", ErrorCode::Internal, "a kernel of cuda for the host");
  }
  return static_cast<CudaDevice&>(device);
}

bool has_no_work(const KernelRequest& request) {
  return std::all_of(request.outputs.begin(), request.outputs.end(), is_empty);
}

// Whether storing the step's value as `to` at once gives the bits of storing it as it is declared
// and converting it then.
bool rounds_once(const KernelRequest& request, DType to) {
  const DType dtype = request.outputs[0].dtype;
  if (op_name(request) == "pointwise") return dtype == DType::F32 || dtype == to;
  constexpr std::string_view kMoves[] = {"cat", "permute", "slice", "diagonal", "expand"};
  return std::find(std::begin(kMoves), std::end(kMoves), op_name(request)) != std::end(kMoves) &&
         std::all_of(request.inputs.begin(), request.inputs.end(),
                     [&](const Operand& input) { return input.dtype == dtype; });
}

// What fills the channels of `whole` that the tensor does not have; nothing where it has all.
std::optional<PointwiseSpec> zeros_behind(const LaunchOperand& tensor, const Dims& whole) {
  if (whole == tensor.dims) return std::nullopt;
  LaunchOperand rest = tensor;
  rest.dims[1] = whole[1] - tensor.dims[1];
  rest.place.offset =
      static_cast<size_t>(tensor.dims[1] * tensor.strides[1]) * item_size(rest.dtype);
  rest.alignment = item_size(rest.dtype);
  return PointwiseSpec{"-> 0", {}, rest, false};
}

class CudaBackend final : public backends::RunBackend {
 public:
  std::string_view name() const override { return "cuda"; }
  // Plans do not depend on the libraries: engines choose their kernels when they are loaded.
  std::string libraries() const override { return "cuda 13"; }
  backends::Device& device(std::string_view wanted) const override { return cuda_device(wanted); }

  Packing choose_packing(const KernelRequest& request, size_t input) const override {
    const KernelDef& def = kernel_of(request);
    return def.choose_packing == nullptr ? RunBackend::choose_packing(request, input)
                                         : def.choose_packing(request, input);
  }

  std::unique_ptr<Kernel> prepare(const KernelRequest& request) const override {
    CudaDevice& device = device_of(*request.device);
    const backends::UseDevice use(device);
    if (has_no_work(request)) return std::make_unique<NoKernel>();
    try {
      return kernel_of(request).prepare(device, request);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Unsupported) throw;
      if (auto kernel = try_prepare_on_host(device, request)) return kernel;
      throw;
    }
  }

  std::unique_ptr<Kernel> prepare_packing(backends::Device& on, const Operand& from, DType to,
                                          const Packing& packing) const override {
    CudaDevice& device = device_of(on);
    const backends::UseDevice use(device);
    LaunchOperand source{Place::input(0), from.dtype, from.dims, from.strides, from.alignment};
    LaunchOperand target{Place::output(0), to, from.dims, {}, 16};
    Packing same = packing;
    if (packing.is_plain()) {
      same.bytes = static_cast<size_t>(numel(from.dims)) * item_size(to);
    }
    target.strides = packed_strides(same, from.dims, to);
    std::vector<PointwiseSpec> parts = {copy_spec(source, target)};
    if (auto zeros = zeros_behind(target, packed_dims(same, from.dims))) {
      parts.push_back(std::move(*zeros));
    }
    return std::make_unique<PointwiseKernel>(device, std::move(parts), "copy", true);
  }

  std::unique_ptr<Kernel> prepare_packed_step(const KernelRequest& request, DType to,
                                              const Packing& packing) const override {
    const Dims& dims = request.outputs[0].dims;
    if (!rounds_once(request, to) || has_no_work(request)) return nullptr;
    CudaDevice& device = device_of(*request.device);
    const backends::UseDevice use(device);
    KernelRequest packed = request;
    packed.outputs[0].dtype = to;
    packed.outputs[0].strides = packed_strides(packing, dims, to);
    std::unique_ptr<Kernel> kernel = kernel_of(request).prepare(device, packed);
    const LaunchOperand target{Place::output(0), to, dims, packed.outputs[0].strides, 16};
    auto zeros = zeros_behind(target, packed_dims(packing, dims));
    if (!zeros) return kernel;
    const auto* pointwise = dynamic_cast<const PointwiseKernel*>(kernel.get());
    if (pointwise == nullptr) return nullptr;
    std::vector<PointwiseSpec> parts = pointwise->parts();
    parts.push_back(std::move(*zeros));
    return std::make_unique<PointwiseKernel>(device, std::move(parts), pointwise->tactic(), true);
  }

  std::unique_ptr<backends::KernelGroup> group(
      backends::Device& device, std::span<const Kernel* const> kernels) const override {
    const backends::UseDevice use(device);
    return std::make_unique<PointwiseGroup>(device_of(device), kernels);
  }
};

}  // namespace

const backends::RunBackend& run_backend() {
  static const CudaBackend backend;
  return backend;
}

}  // namespace regraft::cuda
