#pragma once

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// An image as [N, C, D, H, W]: missing spatial dimensions, and a missing N, get size 1.
LaunchOperand as_image(LaunchOperand operand, size_t spatial);
// The last `count` sizes of an attribute, filled to three from the front.
void append_triple(std::vector<int64_t>& to, const Dims& values, int64_t neutral);
// ints of run/cu/spatial.cu: kernel, stride, padding, dilation.
std::vector<int64_t> window_ints(const Dims& kernel, const Dims& stride, const Dims& padding,
                                 const Dims& dilation);

// A direct convolution for what no library takes: slow, of any strides, dtypes and groups. The
// operands of `request` as the op convolution has them; the weight lies as `weight` says.
Launch make_direct_convolution(CudaDevice& device, const KernelRequest& request,
                               const LaunchOperand& weight, bool with_bias);

}  // namespace regraft::cuda
