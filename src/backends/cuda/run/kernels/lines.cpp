#include <algorithm>
#include <limits>

#include "backends/cuda/run/dense_lines.h"
#include "backends/cuda/run/epilogue.h"
#include "backends/cuda/run/group_norm.h"

namespace regraft::cuda {
namespace {

std::unique_ptr<Kernel> finish(CudaDevice& device, const LineSpec& spec) {
  return make_kernel(make_line(device, spec), spec.source);
}

void check_real(const KernelRequest& request) {
  for (const Operand& input : request.inputs) {
    if (input.present && is_complex(input.dtype)) unsupported(request, "complex numbers");
  }
  if (is_complex(request.outputs[0].dtype)) unsupported(request, "complex numbers");
}

// A result with or without axes of size 1 in place of the reduced ones, over the dims of x.
LaunchOperand over(const Dims& dims, const std::vector<bool>& reduced, LaunchOperand out) {
  const bool keeps = out.dims.size() == dims.size();
  Dims strides(dims.size(), 0);
  size_t next = 0;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (!reduced[d]) strides[d] = out.strides[keeps ? d : next];
    if (!reduced[d]) ++next;
  }
  out.dims = dims;
  out.strides = std::move(strides);
  return out;
}

std::string compute_type(DType dtype) {
  return dtype == DType::F64 ? "double" : is_floating(dtype) ? "float" : "i64";
}

std::unique_ptr<Kernel> prepare_reduce(CudaDevice& device, const KernelRequest& request) {
  check_real(request);
  const std::string_view op = op_name(request);
  const Dims& dims = request.inputs[0].dims;
  LineSpec spec;
  spec.source = "reduce";
  Dims axes;
  if (!request.attributes.is_none("dims")) axes = request.attributes.integers("dims");
  spec.reduced.assign(dims.size(), axes.empty());
  for (const int64_t axis : axes) {
    if (!dims.empty()) spec.reduced[axis_of(axis, dims.size())] = true;
  }
  const DType out = request.outputs[0].dtype;
  const bool is_real = op == "mean" || op == "var" || op == "norm" || op == "logsumexp";
  const std::string compute =
      is_real ? (out == DType::F64 || request.inputs[0].dtype == DType::F64 ? "double" : "float")
              : compute_type(out);
  spec.defines = base::cat("#define OP_", op, "\n#define COMPUTE ", compute, "\n");
  spec.operands = {input_of(request, 0), over(dims, spec.reduced, output_of(request, 0))};
  if (op == "var") spec.numbers = {request.attributes.number("correction")};
  if (op == "norm") spec.numbers = {request.attributes.number("ord")};
  spec.any_order = true;
  if (auto launch = try_make_column_reduce(device, spec, op)) {
    return make_kernel(std::move(*launch), "column_reduce");
  }
  return finish(device, spec);
}

std::vector<bool> along(const KernelRequest& request) {
  const size_t rank = request.inputs[0].dims.size();
  std::vector<bool> reduced(rank, false);
  if (request.attributes.is_none("dim")) return std::vector<bool>(rank, true);
  if (rank > 0) reduced[axis_of(request.attributes.integer("dim"), rank)] = true;
  return reduced;
}

std::unique_ptr<Kernel> prepare_argmax(CudaDevice& device, const KernelRequest& request) {
  check_real(request);
  const std::string_view op = op_name(request);
  const bool has_values = op == "max_dim" || op == "min_dim";
  const Dims& dims = request.inputs[0].dims;
  LineSpec spec;
  spec.source = "argmax";
  spec.defines = base::cat("#define HAS_VALUES ", has_values ? 1 : 0, "\n",
                           op == "argmax" || op == "max_dim" ? "#define GREATEST\n" : "");
  spec.reduced = along(request);
  spec.operands = {input_of(request, 0)};
  spec.operands.push_back(over(dims, spec.reduced, output_of(request, has_values ? 1 : 0)));
  if (has_values) spec.operands.push_back(over(dims, spec.reduced, output_of(request, 0)));
  return finish(device, spec);
}

// From lines to lines of the same length.
LineSpec map_spec(const KernelRequest& request, std::string source) {
  check_real(request);
  LineSpec spec;
  spec.source = std::move(source);
  spec.defines = base::cat("#define OP_", op_name(request), "\n");
  spec.operands = {input_of(request, 0), output_of(request, 0)};
  return spec;
}

LineSpec cached_spec(const KernelRequest& request, std::string source) {
  LineSpec spec = map_spec(request, std::move(source));
  spec.caches = true;
  spec.cache_item = request.outputs[0].dtype == DType::F64 ? 8 : 4;
  return spec;
}

std::unique_ptr<Kernel> prepare_softmax(CudaDevice& device, const KernelRequest& request) {
  LineSpec spec = cached_spec(request, "softmax");
  spec.reduced = along(request);
  return finish(device, spec);
}

// weight and bias with strides over the output's dims: `first` is the axis of their first dim.
void add_affine(LineSpec& spec, const KernelRequest& request, size_t first) {
  constexpr std::string_view kNames[] = {"WEIGHT", "BIAS"};
  for (size_t i = 0; i < 2; ++i) {
    const bool has = is_present(request.inputs, 1 + i);
    spec.defines += base::cat("#define HAS_", kNames[i], " ", has ? 1 : 0, "\n");
    if (!has) continue;
    spec.defines += base::cat("#define ", kNames[i], " ", spec.operands.size(), "\ntypedef ",
                              type_name(request.inputs[1 + i].dtype), " T", kNames[i][0], ";\n");
    LaunchOperand operand = input_of(request, 1 + i);
    Dims strides(request.outputs[0].dims.size(), 0);
    std::copy(operand.strides.begin(), operand.strides.end(),
              strides.begin() + static_cast<std::ptrdiff_t>(first));
    operand.strides = std::move(strides);
    operand.dims = request.outputs[0].dims;
    spec.operands.push_back(std::move(operand));
  }
}

LineSpec norm_spec(const KernelRequest& request) {
  LineSpec spec = cached_spec(request, "norm");
  spec.any_order = true;
  return spec;
}

std::unique_ptr<Kernel> prepare_layer_norm(CudaDevice& device, const KernelRequest& request) {
  LineSpec spec = norm_spec(request);
  const size_t rank = request.outputs[0].dims.size();
  const size_t first = rank - request.attributes.integers("dims").size();
  spec.reduced.assign(rank, false);
  std::fill(spec.reduced.begin() + static_cast<std::ptrdiff_t>(first), spec.reduced.end(), true);
  add_affine(spec, request, first);
  // Without an eps: the machine epsilon of the type that is calculated with.
  const double eps = !request.attributes.is_none("eps") ? request.attributes.number("eps")
                     : request.inputs[0].dtype == DType::F64
                         ? std::numeric_limits<double>::epsilon()
                         : double{std::numeric_limits<float>::epsilon()};
  spec.numbers = {eps};
  if (auto launch = try_make_row_norm(device, spec)) {
    return make_kernel(std::move(*launch), "row_norm");
  }
  return finish(device, spec);
}

// Channels are split into [groups, channels of a group].
std::unique_ptr<Kernel> prepare_group_norm(CudaDevice& device, const KernelRequest& request) {
  if (auto kernel = try_make_group_norm(device, request)) return kernel;
  LineSpec spec = norm_spec(request);
  const int64_t groups = request.attributes.integer("groups");
  const int64_t channels = request.outputs[0].dims[1] / groups;
  add_affine(spec, request, 1);
  for (LaunchOperand& operand : spec.operands) {
    operand.dims[1] = groups;
    operand.dims.insert(operand.dims.begin() + 2, channels);
    const int64_t stride = operand.strides[1];
    operand.strides[1] = stride * channels;
    operand.strides.insert(operand.strides.begin() + 2, stride);
  }
  spec.reduced.assign(spec.operands[0].dims.size(), true);
  spec.reduced[0] = spec.reduced[1] = false;
  spec.numbers = {request.attributes.number("eps")};
  const Epilogue items = epilogue_of(request);
  if (items.empty()) return finish(device, spec);
  std::vector<Launch> launches;
  launches.push_back(make_line(device, spec));
  launches.push_back(make_epilogue(device, request, output_of(request, 0), std::nullopt, items, 3));
  return std::make_unique<LaunchKernel>(std::move(launches), spec.source);
}

std::unique_ptr<Kernel> prepare_scan(CudaDevice& device, const KernelRequest& request) {
  LineSpec spec = map_spec(request, "scan");
  spec.reduced = along(request);
  spec.one_thread = true;
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_sort(CudaDevice& device, const KernelRequest& request) {
  check_real(request);
  LineSpec spec;
  spec.source = "sort";
  const bool sorts = op_name(request) == "sort";
  spec.reduced = along(request);
  const Dims& dims = request.inputs[0].dims;
  int64_t places = 1;
  spec.operands = {input_of(request, 0)};
  for (size_t i = 0; i < 2; ++i) {
    LaunchOperand out = output_of(request, i);
    for (size_t d = 0; d < dims.size(); ++d) {
      if (spec.reduced[d]) places = out.dims[d];
    }
    out.dims = dims;  // Fewer places may be written than a line has.
    spec.operands.push_back(std::move(out));
  }
  spec.ints = {request.attributes.flag(sorts ? "descending" : "largest") ? 1 : 0, places};
  return finish(device, spec);
}

constexpr KernelDef kKernels[] = {
    {"sum", prepare_reduce},
    {"mean", prepare_reduce},
    {"prod", prepare_reduce},
    {"amax", prepare_reduce},
    {"amin", prepare_reduce},
    {"any", prepare_reduce},
    {"all", prepare_reduce},
    {"var", prepare_reduce},
    {"norm", prepare_reduce},
    {"logsumexp", prepare_reduce},
    {"argmax", prepare_argmax},
    {"argmin", prepare_argmax},
    {"max_dim", prepare_argmax},
    {"min_dim", prepare_argmax},
    {"softmax", prepare_softmax},
    {"log_softmax", prepare_softmax},
    {"layer_norm", prepare_layer_norm},
    {"rms_norm", prepare_layer_norm},
    {"group_norm", prepare_group_norm},
    {"cumsum", prepare_scan},
    {"cumprod", prepare_scan},
    {"sort", prepare_sort},
    {"topk", prepare_sort},
};

}  // namespace

extern const KernelFile k_kernels_lines;
const KernelFile k_kernels_lines = kKernels;

}  // namespace regraft::cuda
