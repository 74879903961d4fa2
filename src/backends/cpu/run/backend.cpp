#include "backends/cpu/run/backend.h"

#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/onednn.h"
#include "backends/cpu/run/packed_layout.h"
#include "backends/cpu/run/packer.h"
#include "backends/cpu/run/strided_copy.h"
#include "backends/kernel_table.h"

namespace regraft::cpu {

#define REGRAFT_KERNEL_FILE(file) extern const KernelFile k_kernels_##file;
#include "backends/cpu/kernel_list.inc"
#undef REGRAFT_KERNEL_FILE

namespace {

const KernelDef& kernel_of(const KernelRequest& request) {
  static const backends::KernelTable<KernelDef> kernels = {
#define REGRAFT_KERNEL_FILE(file) k_kernels_##file,
#include "backends/cpu/kernel_list.inc"
#undef REGRAFT_KERNEL_FILE
  };
  const KernelDef* const def = kernels.find(op_name(request));
  if (def == nullptr) {
    base::fail("backends", ErrorCode::Unsupported, "no kernel '", request.step.kernel,
               "' in this build");
  }
  return *def;
}

class PackKernel final : public Kernel {
 public:
  PackKernel(const Operand& from, DType to, const PackedLayout& layout)
      : packer_(from, to, layout) {}
  void run(const KernelArguments& arguments) const override {
    packer_.run(arguments.inputs[0], arguments.outputs[0]);
  }
  std::string tactic() const override { return "pack"; }

 private:
  Packer packer_;
};

// A weight times a factor per output channel, packed: what folding a batch norm into a convolution
// leaves of the weight.
class ScaledPackKernel final : public Kernel {
 public:
  explicit ScaledPackKernel(Packer packer) : packer_(std::move(packer)) {}
  void run(const KernelArguments& arguments) const override {
    packer_.run(arguments.inputs[0], arguments.outputs[0],
                static_cast<const float*>(arguments.inputs[1]));
  }
  std::string tactic() const override { return "scale-pack"; }

 private:
  Packer packer_;
};

class PlainKernel final : public Kernel {
 public:
  PlainKernel(const Operand& from, DType to)
      : copy_(from.dims, from.dtype, from.strides, to, contiguous_strides(from.dims)) {}
  void run(const KernelArguments& arguments) const override {
    copy_.run(arguments.inputs[0], arguments.outputs[0]);
  }
  std::string tactic() const override { return "copy"; }

 private:
  StridedCopy copy_;
};

class CpuBackend final : public backends::RunBackend {
 public:
  std::string_view name() const override { return "cpu"; }
  std::string libraries() const override { return onednn_version(); }

  Packing choose_packing(const KernelRequest& request, size_t input) const override {
    const KernelDef& def = kernel_of(request);
    if (def.choose_packing == nullptr) return plain_packing(request.inputs[input]);
    try {
      return def.choose_packing(request, input);
    } catch (const Error& error) {
      // prepare() will say what is unsupported, or leave it to the reference.
      if (error.code() != ErrorCode::Unsupported) throw;
      return plain_packing(request.inputs[input]);
    }
  }

  std::unique_ptr<Kernel> prepare(const KernelRequest& request) const override {
    const KernelDef& def = kernel_of(request);
    try {
      return def.prepare(request);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Unsupported) throw;
      // Kernels named after an op leave rare dtypes and layouts to the reference.
      if (auto kernel = backends::try_prepare_reference(request)) return kernel;
      throw;
    }
  }

  std::unique_ptr<Kernel> prepare_packing(backends::Device& /*device*/, const Operand& from,
                                          DType to, const Packing& packing) const override {
    if (packing.is_plain()) return std::make_unique<PlainKernel>(from, to);
    return std::make_unique<PackKernel>(from, to, PackedLayout::parse(packing.id));
  }

  std::unique_ptr<Kernel> prepare_packed_step(const KernelRequest& request, DType to,
                                              const Packing& packing) const override {
    if (packing.is_plain() || request.step.kernel != "cpu.pointwise" ||
        request.attributes.text("program") != "mul i0 i1 -> r0") {
      return nullptr;
    }
    const Operand &from = request.inputs[0], &product = request.outputs[0];
    const bool rounds_once = product.dtype == DType::F32 || product.dtype == to;
    if (from.dims != product.dims || !rounds_once) return nullptr;
    Packer packer(from, to, PackedLayout::parse(packing.id));
    if (!packer.takes_scale(request.inputs[1])) return nullptr;
    return std::make_unique<ScaledPackKernel>(std::move(packer));
  }
};

}  // namespace

const backends::RunBackend& run_backend() {
  static const CpuBackend backend;
  return backend;
}

}  // namespace regraft::cpu
