#include "backends/cpu/compile/backend.h"

#include "compilation/fusion/compile_fused.h"

namespace regraft::cpu {
namespace {

using compilation::FusionTarget;
using compilation::Settings;
using compilation::Support;

constexpr DType kProductTypes[] = {DType::F32, DType::BF16};

// The run side falls back to the reference where dtypes or strides do not fit.
constexpr std::string_view kKernels[] = {"convolution",
                                         "linear",
                                         "matmul",
                                         "scaled_dot_product_attention",
                                         "layer_norm",
                                         "rms_norm",
                                         "softmax",
                                         "log_softmax",
                                         "cat",
                                         "embedding",
                                         "max_pool",
                                         "avg_pool",
                                         "adaptive_avg_pool",
                                         "adaptive_max_pool",
                                         "upsample_nearest",
                                         "upsample_bilinear",
                                         "upsample_bicubic",
                                         "grid_sampler",
                                         "group_norm",
                                         "sum",
                                         "mean",
                                         "amax",
                                         "amin",
                                         "slice",
                                         "permute",
                                         "expand",
                                         "reshape"};

constexpr FusionTarget kTarget = {
    .backend = "cpu", .product_types = kProductTypes, .adds_f32_bias = true, .kernels = kKernels};

class CpuBackend final : public compilation::CompileBackend {
 public:
  std::string_view name() const override { return "cpu"; }

  Support supports(const ir::Node& node) const override {
    if (node.op().is_opaque()) return Support::no("not an op of the catalogue");
    return Support::supported();
  }

  plan::Plan compile(ir::Graph& graph, const Settings&) const override {
    return compilation::compile_fused(graph, kTarget);
  }
};

}  // namespace

const compilation::CompileBackend& compile_backend() {
  static const CpuBackend backend;
  return backend;
}

}  // namespace regraft::cpu
