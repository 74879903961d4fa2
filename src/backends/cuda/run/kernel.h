#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "backends/cuda/run/cuda_device.h"
#include "backends/kernel_support.h"

namespace regraft::cuda {

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

// One kernel of the backend: "cuda.<name>".
struct KernelDef {
  std::string_view name;
  std::unique_ptr<Kernel> (*prepare)(CudaDevice& device, const KernelRequest& request);
  // The packing wanted for constant input `input`; null: always plain.
  Packing (*choose_packing)(const KernelRequest& request, size_t input) = nullptr;
};

// The kernels of one file under kernels/: `extern const KernelFile k_kernels_<file>` each.
using KernelFile = std::span<const KernelDef>;

// Bytes of a part of a workspace: the next one is aligned like the first.
inline constexpr size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

// `dim` in [-rank, rank) made non-negative.
inline size_t axis_of(int64_t dim, size_t rank) {
  return static_cast<size_t>(dim < 0 ? dim + static_cast<int64_t>(rank > 0 ? rank : 1) : dim);
}

}  // namespace regraft::cuda
