#pragma once

#include <cstdint>
#include <string>

#include "backends/run_backend.h"

namespace regraft::engine {

// What a step moves and calculates at concrete shapes, whatever kernel does it.
struct StepWork {
  uint64_t bytes = 0;  // Inputs and outputs, each once; elements that a stride of 0 repeats, once.
  uint64_t flops = 0;  // Of products: two for each pair of factors.
  std::string kind;  // What the products are of: "f32", "tf32", "bf16"; empty where there are none.
};
StepWork work_of(const backends::KernelRequest& request);

}  // namespace regraft::engine
