#pragma once

#include <cstdint>
#include <vector>

#include "backends/run_backend.h"
#include "plan/layout.h"
#include "plan/plan.h"

namespace regraft::engine {

// A plan at concrete values of its symbols. Every buffer has been checked against its storage, so
// offsets computed from this stay inside.
struct Shaped {
  SymbolValues values;
  std::vector<int64_t> storage_bytes;  // By storage.
  std::vector<plan::Placed> buffers;   // By buffer.
  backends::Device* device = &backends::host_device();
};

// The parts that do not depend on symbols: parameters, constants and the weight program. The other
// entries are empty.
Shaped shape_statics(const plan::Plan& plan, backends::Device& device = backends::host_device());
// All of the plan. Throws Error{"plan", Corrupt} when a buffer does not fit its storage and
// Error{"engine", Unsupported} when a size cannot be evaluated.
Shaped shape_all(const plan::Plan& plan, const SymbolValues& values,
                 backends::Device& device = backends::host_device());

backends::Operand operand_of(const plan::Placed& buffer);
// The request for a step; constants among its inputs are plain.
backends::KernelRequest request_of(const plan::Plan& plan, const plan::Step& step,
                                   const Shaped& shaped);
// Prepares a step; a failure names the step and its place in the program.
std::unique_ptr<backends::Kernel> prepare(const backends::KernelRequest& request);

}  // namespace regraft::engine
