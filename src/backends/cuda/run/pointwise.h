#pragma once

#include <string_view>
#include <vector>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// A launch of a pointwise program (docs/adding_a_backend.md) over broadcast inputs: one kernel,
// generated for the program, the dtypes and how the operands lie, not for their sizes.
class PointwiseSpec {
 public:
  std::string_view program;
  std::vector<LaunchOperand> inputs;  // Strides over the output's dims.
  LaunchOperand output;
  // Elements are moved without being looked at: the program is "-> i0".
  bool moves = false;
};
Launch make_pointwise(CudaDevice& device, const PointwiseSpec& spec);

// The generated source alone, for tests that compile it.
std::string pointwise_source(const PointwiseSpec& spec);

// An input of a request over the dims of output 0.
LaunchOperand broadcast_input(const KernelRequest& request, size_t i);

}  // namespace regraft::cuda
