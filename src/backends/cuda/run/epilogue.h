#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// What a kernel does to its result before it is stored, in order: "add,clip:0:6", an attribute of
// steps. The items add, sub, mul, min and max take the step's next further input as their right
// operand.
struct EpilogueItem {
  std::string name;
  std::vector<std::string> numbers;

  bool is_binary() const;
};
using Epilogue = std::vector<EpilogueItem>;

Epilogue epilogue_of(const KernelRequest& request);
// Items without operands as a pointwise program of i0.
std::string epilogue_program(std::span<const EpilogueItem> items);

// The items as a launch over `product`: bias first if given (strides over the result's dims), then
// the items, whose operands are the step's inputs from `first_operand` on.
Launch make_epilogue(CudaDevice& device, const KernelRequest& request, const LaunchOperand& product,
                     const std::optional<LaunchOperand>& bias, std::span<const EpilogueItem> items,
                     size_t first_operand);

}  // namespace regraft::cuda
