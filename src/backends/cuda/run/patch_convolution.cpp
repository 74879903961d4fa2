#include "backends/cuda/run/patch_convolution.h"

#include <algorithm>

#include "backends/cuda/run/epilogue.h"
#include "backends/cuda/run/gemm.h"
#include "backends/cuda/run/pointwise.h"

namespace regraft::cuda {
namespace {

constexpr size_t kX = 0, kWeight = 1, kBias = 2, kFirstOperand = 3;

class PatchConvolution final : public Kernel {
 public:
  PatchConvolution(CudaDevice& device, const KernelRequest& request) {
    const Dims& filters = request.inputs[kWeight].dims;
    const Dims& out = request.outputs[0].dims;
    const int64_t rows = out[0] * out[2] * out[3], depth = filters[1] * filters[2] * filters[3];
    // The windows [N, rows, columns, C, height, width] one after the other.
    LaunchOperand windows = input_of(request, kX);
    const Dims s = windows.strides;
    windows.dims = {out[0], out[2], out[3], filters[1], filters[2], filters[3]};
    windows.strides = {s[0], s[2] * filters[2], s[3] * filters[3], s[1], s[2], s[3]};
    LaunchOperand copy = windows;
    copy.place = Place::workspace(0);
    copy.strides = contiguous_strides(copy.dims);
    copy.alignment = 16;
    const size_t bytes = static_cast<size_t>(rows * depth) * item_size(windows.dtype);
    copy_ = make_copy(device, windows, copy);
    Product product;
    copy.dims = {rows, depth};
    copy.strides = {depth, 1};
    product.x = matrix_of(copy, 0);
    LaunchOperand weight = input_of(request, kWeight);
    weight.dims = {depth, filters[0]};
    weight.strides = {1, depth};
    product.y = matrix_of(weight, 0);
    LaunchOperand result = output_of(request, 0);
    result.dims = {rows, filters[0]};
    result.strides = {filters[0], 1};
    product.result = matrix_of(result, 0);
    if (is_present(request.inputs, kBias)) product.bias = input_of(request, kBias);
    gemm_ = std::make_unique<Gemm>(device, request, product, rounded(bytes));
    const Epilogue items = epilogue_of(request);
    if (items.empty()) return;
    epilogue_ =
        make_epilogue(device, request, output_of(request, 0), std::nullopt, items, kFirstOperand);
    has_epilogue_ = true;
  }
  void run(const KernelArguments& arguments) const override {
    copy_.run(arguments);
    gemm_->run(arguments);
    epilogue_.run(arguments);
  }
  size_t workspace_bytes() const override { return gemm_->workspace_bytes(); }
  std::string tactic() const override {
    return "patches+" + gemm_->tactic() + (has_epilogue_ ? "+pointwise" : "");
  }

 private:
  Launch copy_, epilogue_;
  std::unique_ptr<Gemm> gemm_;
  bool has_epilogue_ = false;
};

}  // namespace

bool is_patch_convolution(const KernelRequest& request) {
  constexpr int64_t kMostChannels = 4, kMostDepth = 4096;
  const Dims &x = request.inputs[kX].dims, &filters = request.inputs[kWeight].dims;
  const Attributes& attributes = request.attributes;
  const auto all = [&](std::string_view name, int64_t value) {
    const Dims values = attributes.integers(name);
    return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == value; });
  };
  if (x.size() != 4 || filters.size() != 4 || attributes.flag("transposed") ||
      attributes.integer("groups") != 1 || filters[1] > kMostChannels) {
    return false;
  }
  const Dims stride = attributes.integers("stride");
  const int64_t depth = filters[1] * filters[2] * filters[3];
  const auto bytes = depth * static_cast<int64_t>(item_size(request.inputs[kWeight].dtype));
  return stride[0] == filters[2] && stride[1] == filters[3] && filters[2] * filters[3] > 1 &&
         all("padding", 0) && all("dilation", 1) && depth <= kMostDepth && bytes % 16 == 0;
}

std::unique_ptr<Kernel> try_make_patch_convolution(CudaDevice& device,
                                                   const KernelRequest& request) {
  const Operand& out = request.outputs[0];
  const Dims& d = out.dims;
  const Dims wanted = {d[1] * d[2] * d[3], 1, d[1] * d[3], d[1]};
  for (size_t axis = 0; axis < 4; ++axis) {
    if (d[axis] != 1 && out.strides[axis] != wanted[axis]) return nullptr;
  }
  if (!request.inputs[kWeight].packing.is_plain()) return nullptr;
  if (is_present(request.inputs, kBias) && request.inputs[kBias].strides[0] != 1) return nullptr;
  return std::make_unique<PatchConvolution>(device, request);
}

}  // namespace regraft::cuda
