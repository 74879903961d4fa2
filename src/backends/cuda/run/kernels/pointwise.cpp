#include "backends/cuda/run/pointwise.h"

#include <algorithm>
#include <cmath>

namespace regraft::cuda {
namespace {

std::unique_ptr<Kernel> make(CudaDevice& device, const KernelRequest& request,
                             const std::string& program, bool moves = false) {
  PointwiseSpec spec;
  spec.program = program;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    if (!request.inputs[i].present) continue;
    if (is_complex(request.inputs[i].dtype) && !moves) unsupported(request, "complex numbers");
    spec.inputs.push_back(broadcast_input(request, i));
  }
  spec.output = output_of(request, 0);
  if (is_complex(spec.output.dtype) && !moves) unsupported(request, "complex numbers");
  spec.moves = moves;
  return make_pointwise_kernel(device, request, std::move(spec), "pointwise");
}

std::unique_ptr<Kernel> prepare_program(CudaDevice& device, const KernelRequest& request) {
  return make(device, request, request.attributes.text("program"));
}

std::unique_ptr<Kernel> prepare_copy(CudaDevice& device, const KernelRequest& request) {
  return make(device, request, "-> i0", request.inputs[0].dtype == request.outputs[0].dtype);
}

std::string number_text(const Attribute& number) {
  if (const auto* flag = std::get_if<bool>(&number)) return *flag ? "true" : "false";
  if (const auto* size = std::get_if<SymInt>(&number)) return std::to_string(size->value());
  return base::float_text(std::get<double>(number));
}

// Operand texts: inputs, with numbers in place of absent ones.
class Operands {
 public:
  explicit Operands(const KernelRequest& request) : request_(request) {}

  // Empty where neither is given.
  std::string next(std::string_view scalar) {
    if (is_present(request_.inputs, at_)) {
      ++at_;
      return base::cat("i", used_++);
    }
    ++at_;
    const Attribute* number = request_.attributes.find(scalar);
    if (number == nullptr || std::holds_alternative<std::monostate>(*number)) return "";
    return number_text(*number);
  }

 private:
  const KernelRequest& request_;
  size_t at_ = 0, used_ = 0;
};

// A node of the catalogue that no program took: as a program of its own.
std::unique_ptr<Kernel> prepare_op(CudaDevice& device, const KernelRequest& request) {
  const std::string op(op_name(request));
  const Attributes& attributes = request.attributes;
  Operands operands(request);
  const auto number = [&](std::string_view name) { return number_text(*attributes.find(name)); };
  if (op == "clamp") {
    std::string program, value = operands.next("");
    const std::string low = operands.next("min"), high = operands.next("max");
    int results = 0;
    if (!low.empty()) {
      program += base::cat("maximum ", value, " ", low, ";");
      value = base::cat("r", results++);
    }
    if (!high.empty()) {
      program += base::cat("minimum ", value, " ", high, ";");
      value = base::cat("r", results++);
    }
    return make(device, request, program + " -> " + value);
  }
  std::string line = op;
  if (op == "gelu" && attributes.text("approximate") == "tanh") line = "gelu_tanh";
  if (op == "div" && !attributes.is_none("rounding")) line += "_" + attributes.text("rounding");
  if (op == "hardtanh") line = "clamp";
  if (op == "pow" && !is_present(request.inputs, 1) && is_present(request.inputs, 0) &&
      std::abs(attributes.number("scalar")) == 0.5) {
    // PyTorch takes square roots for these, which differ from pow at -inf and -0.
    return make(device, request,
                base::cat(attributes.number("scalar") > 0 ? "sqrt" : "rsqrt", " i0 -> r0"));
  }
  const size_t count = op == "where" ? 3 : std::max<size_t>(request.inputs.size(), 1);
  for (size_t i = 0; i < count; ++i) {
    const std::string operand =
        operands.next(op == "where" ? (i == 1 ? "x_scalar" : "y_scalar") : "scalar");
    line += " " + operand;
  }
  if (op == "hardtanh") line += " " + number("min") + " " + number("max");
  if (op == "leaky_relu") line += " " + number("slope");
  if (op == "elu") line += " " + number("alpha");
  return make(device, request, line + " -> r0");
}

// (x - mean) / sqrt(variance + eps) * weight + bias, along dimension 1.
std::unique_ptr<Kernel> prepare_batch_norm(CudaDevice& device, const KernelRequest& request) {
  PointwiseSpec spec;
  const Dims& dims = request.outputs[0].dims;
  std::vector<std::string> names(5);
  for (size_t i = 0; i < 5; ++i) {
    if (!is_present(request.inputs, i)) continue;
    names[i] = base::cat("i", spec.inputs.size());
    LaunchOperand operand = input_of(request, i);
    if (i > 0) {
      operand.strides.assign(dims.size(), 0);
      operand.strides[1] = request.inputs[i].strides[0];
      operand.dims = dims;
    }
    spec.inputs.push_back(std::move(operand));
  }
  std::string program =
      base::cat("sub i0 ", names[3], "; add ", names[4], " ",
                base::float_text(request.attributes.number("eps")), "; sqrt r1; div r0 r2");
  int last = 3;
  if (!names[1].empty())
    program += base::cat("; mul r", std::exchange(last, last + 1), " ", names[1]);
  if (!names[2].empty())
    program += base::cat("; add r", std::exchange(last, last + 1), " ", names[2]);
  program += base::cat(" -> r", last);
  spec.program = program;
  spec.output = output_of(request, 0);
  return make_pointwise_kernel(device, request, std::move(spec), "pointwise");
}

constexpr KernelDef kKernels[] = {
    {"pointwise", prepare_program},
    {"copy", prepare_copy},
    {"cast", prepare_copy},
    {"expand", prepare_copy},
    {"batch_norm", prepare_batch_norm},
    {"neg", prepare_op},
    {"abs", prepare_op},
    {"sign", prepare_op},
    {"square", prepare_op},
    {"floor", prepare_op},
    {"ceil", prepare_op},
    {"round", prepare_op},
    {"trunc", prepare_op},
    {"reciprocal", prepare_op},
    {"exp", prepare_op},
    {"expm1", prepare_op},
    {"log", prepare_op},
    {"log2", prepare_op},
    {"log10", prepare_op},
    {"log1p", prepare_op},
    {"sqrt", prepare_op},
    {"rsqrt", prepare_op},
    {"sin", prepare_op},
    {"cos", prepare_op},
    {"tan", prepare_op},
    {"asin", prepare_op},
    {"acos", prepare_op},
    {"atan", prepare_op},
    {"sinh", prepare_op},
    {"cosh", prepare_op},
    {"tanh", prepare_op},
    {"asinh", prepare_op},
    {"acosh", prepare_op},
    {"atanh", prepare_op},
    {"erf", prepare_op},
    {"sigmoid", prepare_op},
    {"relu", prepare_op},
    {"silu", prepare_op},
    {"gelu", prepare_op},
    {"hardswish", prepare_op},
    {"hardsigmoid", prepare_op},
    {"hardtanh", prepare_op},
    {"leaky_relu", prepare_op},
    {"elu", prepare_op},
    {"softplus", prepare_op},
    {"mish", prepare_op},
    {"logical_not", prepare_op},
    {"bitwise_not", prepare_op},
    {"isnan", prepare_op},
    {"isinf", prepare_op},
    {"add", prepare_op},
    {"sub", prepare_op},
    {"mul", prepare_op},
    {"div", prepare_op},
    {"pow", prepare_op},
    {"minimum", prepare_op},
    {"maximum", prepare_op},
    {"fmod", prepare_op},
    {"remainder", prepare_op},
    {"atan2", prepare_op},
    {"eq", prepare_op},
    {"ne", prepare_op},
    {"lt", prepare_op},
    {"le", prepare_op},
    {"gt", prepare_op},
    {"ge", prepare_op},
    {"logical_and", prepare_op},
    {"logical_or", prepare_op},
    {"logical_xor", prepare_op},
    {"bitwise_and", prepare_op},
    {"bitwise_or", prepare_op},
    {"bitwise_xor", prepare_op},
    {"clamp", prepare_op},
    {"where", prepare_op},
};

}  // namespace

extern const KernelFile k_kernels_pointwise;
const KernelFile k_kernels_pointwise = kKernels;

}  // namespace regraft::cuda
