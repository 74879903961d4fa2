#include "backends/cuda/run/spatial.h"

namespace regraft::cuda {

LaunchOperand as_image(LaunchOperand operand, size_t spatial) {
  if (operand.dims.size() < spatial + 1) {
    base::fail("backends", ErrorCode::Unsupported, "cuda: an image of ", operand.dims.size(),
               " dimensions");
  }
  if (operand.dims.size() == spatial + 1) {
    operand.dims.insert(operand.dims.begin(), 1);
    operand.strides.insert(operand.strides.begin(), 0);
  }
  operand.dims.insert(operand.dims.begin() + 2, 3 - spatial, 1);
  operand.strides.insert(operand.strides.begin() + 2, 3 - spatial, 0);
  return operand;
}

void append_triple(std::vector<int64_t>& to, const Dims& values, int64_t neutral) {
  for (size_t i = values.size(); i < 3; ++i)
    to.push_back(neutral);
  to.insert(to.end(), values.begin(), values.end());
}

std::vector<int64_t> window_ints(const Dims& kernel, const Dims& stride, const Dims& padding,
                                 const Dims& dilation) {
  std::vector<int64_t> ints;
  append_triple(ints, kernel, 1);
  append_triple(ints, stride, 1);
  append_triple(ints, padding, 0);
  append_triple(ints, dilation, 1);
  return ints;
}

Launch make_direct_convolution(CudaDevice& device, const KernelRequest& request,
                               const LaunchOperand& weight, bool with_bias) {
  const Attributes& attributes = request.attributes;
  const size_t spatial = request.inputs[0].dims.size() - 2;
  ElementSpec spec;
  spec.source = "spatial";
  spec.defines = "#define OP_convolution\n";
  spec.inputs = {as_image(input_of(request, 0), spatial), as_image(weight, spatial)};
  if (with_bias) spec.inputs.push_back(input_of(request, 2));
  spec.outputs = {as_image(output_of(request, 0), spatial)};
  const Dims kernel(weight.dims.begin() + 2, weight.dims.end());
  spec.ints = window_ints(kernel, attributes.integers("stride"), attributes.integers("padding"),
                          attributes.integers("dilation"));
  spec.ints.push_back(attributes.integer("groups"));
  spec.ints.push_back(attributes.flag("transposed") ? 1 : 0);
  return make_element(device, spec);
}

}  // namespace regraft::cuda
