#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "backends/kernel_support.h"

namespace regraft::cpu {

using backends::is_empty;
using backends::is_present;
using backends::Kernel;
using backends::KernelArguments;
using backends::KernelRequest;
using backends::NoKernel;
using backends::op_name;
using backends::Operand;
using backends::Packing;
using backends::unsupported;

// One kernel of the backend: "cpu.<name>".
struct KernelDef {
  std::string_view name;
  std::unique_ptr<Kernel> (*prepare)(const KernelRequest& request);
  // The packing wanted for constant input `input`; null: always plain.
  Packing (*choose_packing)(const KernelRequest& request, size_t input) = nullptr;
};

// The kernels of one file under kernels/: `extern const KernelFile k_kernels_<file>` each.
using KernelFile = std::span<const KernelDef>;

inline Packing plain_packing(const Operand& operand) {
  return {"plain", static_cast<size_t>(numel(operand.dims)) * item_size(operand.dtype)};
}

}  // namespace regraft::cpu
