#include <algorithm>

#include "backends/cuda/run/launch.h"
#include "tensor/promotion.h"

namespace regraft::cuda {
namespace {

LaunchOperand at_least_1d(LaunchOperand operand) {
  if (operand.dims.empty()) {
    operand.dims = {1};
    operand.strides = {1};
  }
  return operand;
}

ElementSpec spec_of(const KernelRequest& request, bool moves) {
  ElementSpec spec;
  spec.source = "gather";
  spec.defines = base::cat("#define OP_", op_name(request), "\n");
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    if (request.inputs[i].present) spec.inputs.push_back(at_least_1d(input_of(request, i)));
  }
  spec.outputs = {at_least_1d(output_of(request, 0))};
  spec.moves = moves;
  return spec;
}

std::unique_ptr<Kernel> finish(CudaDevice& device, const ElementSpec& spec) {
  return make_kernel(make_element(device, spec), spec.source);
}

std::unique_ptr<Kernel> prepare_embedding(CudaDevice& device, const KernelRequest& request) {
  ElementSpec spec = spec_of(request, true);
  LaunchOperand& indices = spec.inputs[1];
  indices.dims = request.inputs[1].dims;
  indices.strides = request.inputs[1].strides;
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_indexed(CudaDevice& device, const KernelRequest& request) {
  ElementSpec spec = spec_of(request, true);
  const size_t rank = spec.inputs[0].dims.size();
  spec.ints = {static_cast<int64_t>(axis_of(request.attributes.integer("dim"), rank))};
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_scatter(CudaDevice& device, const KernelRequest& request) {
  if (is_complex(request.outputs[0].dtype)) unsupported(request, "complex numbers");
  ElementSpec spec = spec_of(request, false);
  constexpr std::string_view kNames[] = {"none", "sum", "prod", "mean", "amax", "amin"};
  const std::string& reduce = request.attributes.text("reduce");
  const size_t rank = spec.outputs[0].dims.size();
  spec.ints = {static_cast<int64_t>(axis_of(request.attributes.integer("dim"), rank)),
               std::find(std::begin(kNames), std::end(kNames), reduce) - kNames,
               request.attributes.flag("include_self") ? 1 : 0, 0, 0};
  if (!is_present(request.inputs, 2)) {
    const Attribute& value = *request.attributes.find("value");
    if (const auto* number = std::get_if<double>(&value)) {
      spec.numbers = {*number};
    } else {
      spec.ints[3] = 1;
      const auto* flag = std::get_if<bool>(&value);
      spec.ints[4] = flag != nullptr ? int64_t{*flag} : std::get<SymInt>(value).value();
    }
  }
  return finish(device, spec);
}

std::string common_type(const KernelRequest& request) {
  bool floating = false, wide = false;
  for (const Operand& input : request.inputs) {
    floating = floating || is_floating(input.dtype);
    wide = wide || input.dtype == DType::F64;
  }
  return base::cat("#define COMMON ", wide ? "double" : floating ? "float" : "i64", "\n");
}

std::unique_ptr<Kernel> prepare_search(CudaDevice& device, const KernelRequest& request) {
  ElementSpec spec = spec_of(request, false);
  spec.defines += common_type(request);
  spec.ints = {request.attributes.flag(op_name(request) == "isin" ? "invert" : "right") ? 1 : 0};
  return finish(device, spec);
}

constexpr KernelDef kKernels[] = {
    {"embedding", prepare_embedding}, {"index_select", prepare_indexed},
    {"gather", prepare_indexed},      {"scatter", prepare_scatter},
    {"isin", prepare_search},         {"bucketize", prepare_search},
};

}  // namespace

extern const KernelFile k_kernels_gather;
const KernelFile k_kernels_gather = kKernels;

}  // namespace regraft::cuda
