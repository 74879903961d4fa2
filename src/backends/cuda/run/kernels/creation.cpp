#include "backends/cuda/run/launch.h"

namespace regraft::cuda {
namespace {

struct Number {
  bool is_integer = false;
  int64_t integer = 0;
  double real = 0;
};

Number number_of(const Attribute& attribute) {
  if (const auto* flag = std::get_if<bool>(&attribute))
    return {true, *flag ? 1 : 0, *flag ? 1.0 : 0.0};
  if (const auto* size = std::get_if<SymInt>(&attribute)) {
    return {true, size->value(), static_cast<double>(size->value())};
  }
  const double real = std::get<double>(attribute);
  return {false, static_cast<int64_t>(real), real};
}

std::unique_ptr<Kernel> prepare(CudaDevice& device, const KernelRequest& request) {
  const std::string_view op = op_name(request);
  if (is_complex(request.outputs[0].dtype)) unsupported(request, "complex numbers");
  ElementSpec spec;
  spec.source = "creation";
  spec.defines = base::cat("#define OP_", op, "\n");
  spec.outputs = {output_of(request, 0)};
  if (op == "full") {
    const Number value = number_of(*request.attributes.find("value"));
    spec.ints = {value.is_integer ? 1 : 0, value.integer};
    spec.numbers = {value.real};
  } else if (op == "arange") {
    const Number start = number_of(*request.attributes.find("start"));
    const Number step = number_of(*request.attributes.find("step"));
    spec.ints = {0, start.integer, step.integer};
    spec.numbers = {start.real, step.real};
  }
  return make_kernel(make_element(device, spec), spec.source);
}

constexpr KernelDef kKernels[] = {{"full", prepare}, {"arange", prepare}, {"eye", prepare}};

}  // namespace

extern const KernelFile k_kernels_creation;
const KernelFile k_kernels_creation = kKernels;

}  // namespace regraft::cuda
