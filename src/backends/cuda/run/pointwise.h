#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// A pointwise program (docs/adding_a_backend.md) over broadcast inputs: one kernel, generated for
// the program, the dtypes and how the operands lie, not for their sizes.
struct PointwiseSpec {
  std::string program;
  std::vector<LaunchOperand> inputs;  // Strides over the output's dims.
  LaunchOperand output;
  // Elements are moved without being looked at: the program is "-> i0".
  bool moves = false;
};
Launch make_pointwise(CudaDevice& device, const PointwiseSpec& spec);

// The generated source alone, for tests that compile it.
std::string pointwise_source(const PointwiseSpec& spec);

// Programs without order between them. The weight program's (`waits`) are mostly run by a
// KernelGroup: their own launches are compiled by the first run() alone.
class PointwiseKernel final : public Kernel {
 public:
  PointwiseKernel(CudaDevice& device, std::vector<PointwiseSpec> parts, std::string tactic,
                  bool waits);
  void run(const KernelArguments& arguments) const override;
  std::string tactic() const override { return tactic_; }
  const std::vector<PointwiseSpec>& parts() const { return parts_; }

 private:
  void compile() const;

  CudaDevice& device_;
  std::vector<PointwiseSpec> parts_;
  std::string tactic_;
  mutable std::once_flag compiled_;
  mutable std::vector<Launch> launches_;
};
std::unique_ptr<Kernel> make_pointwise_kernel(CudaDevice& device, const KernelRequest& request,
                                              PointwiseSpec spec, std::string tactic);

// Copying between two layouts, converting the dtype in one rounding. Throws Error{Unsupported} for
// conversions of complex numbers.
PointwiseSpec copy_spec(const LaunchOperand& from, const LaunchOperand& to);
Launch make_copy(CudaDevice& device, const LaunchOperand& from, const LaunchOperand& to);

// An input of a request over the dims of output 0.
LaunchOperand broadcast_input(const KernelRequest& request, size_t i);

}  // namespace regraft::cuda
