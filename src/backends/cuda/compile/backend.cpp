#include "backends/cuda/compile/backend.h"

#include <algorithm>

#include "base/text.h"
#include "compilation/fusion/compile_fused.h"

namespace regraft::cuda {
namespace {

using compilation::FusionTarget;
using compilation::Settings;
using compilation::Support;

constexpr DType kProductTypes[] = {DType::F32, DType::F16, DType::BF16};
constexpr FusionTarget kTarget = {.backend = "cuda",
                                  .product_types = kProductTypes,
                                  .widens_linears = true,
                                  .row_bytes = 16,
                                  .fuses_norms = true,
                                  .kernels = {},
                                  .has_all_kernels = true};
constexpr size_t kMaxRank = 8;

// Ops that only move elements, whatever these are.
bool moves(const ir::Node& node) {
  constexpr std::string_view kMoves[] = {
      "permute", "slice", "reshape", "expand",        "as_strided", "roll",
      "flip",    "cat",   "repeat",  "slice_scatter", "diagonal",   "repeat_interleave",
      "gather",  "index", "triu",    "index_select",  "tril",       "embedding"};
  return std::any_of(std::begin(kMoves), std::end(kMoves),
                     [&](std::string_view name) { return node.is(name); });
}

Support supports_value(const ir::Node& node, const ir::Value* value) {
  if (value == nullptr) return Support::supported();
  if (value->dims().size() > kMaxRank) {
    return Support::no(
        base::cat(value->dims().size(), " dimensions, kernels take up to ", kMaxRank));
  }
  if (is_complex(value->dtype()) && !moves(node)) {
    return Support::no(base::cat("no kernel for ", name(value->dtype())));
  }
  return Support::supported();
}

// Of the compute program alone: what becomes of weights is calculated in f32.
void allow_tf32(plan::Plan& plan) {
  constexpr std::string_view kProducts[] = {"cuda.convolution", "cuda.linear", "cuda.matmul",
                                            "cuda.scaled_dot_product_attention"};
  for (plan::Step& step : plan.compute_steps) {
    const bool is_product =
        std::find(std::begin(kProducts), std::end(kProducts), step.kernel) != std::end(kProducts);
    // Linears of 16-bit operands may have results in f32.
    if (is_product && plan.buffers[step.inputs[0]].type.dtype == DType::F32) {
      step.attributes.set("tf32", true);
    }
  }
}

class CudaBackend final : public compilation::CompileBackend {
 public:
  std::string_view name() const override { return "cuda"; }

  Support supports(const ir::Node& node) const override {
    if (node.op().is_opaque()) return Support::no("not an op of the catalogue");
    for (const ir::Value* value : node.inputs()) {
      if (Support support = supports_value(node, value); !support.yes) return support;
    }
    for (const ir::Value* value : node.outputs()) {
      if (Support support = supports_value(node, value); !support.yes) return support;
    }
    return Support::supported();
  }

  plan::Plan compile(ir::Graph& graph, const Settings& settings) const override {
    plan::Plan plan = compilation::compile_fused(graph, kTarget);
    if (settings.allow_tf32) allow_tf32(plan);
    return plan;
  }
};

}  // namespace

const compilation::CompileBackend& compile_backend() {
  static const CudaBackend backend;
  return backend;
}

}  // namespace regraft::cuda
