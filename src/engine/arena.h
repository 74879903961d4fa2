#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace regraft::engine {

// A piece of memory needed from step `first` to step `last`, both included.
struct Lifetime {
  size_t bytes = 0;
  int32_t first = 0;
  int32_t last = 0;
};

struct Arena {
  std::vector<size_t> offsets;  // By lifetime; multiples of 64.
  size_t bytes = 0;
};

// Offsets such that pieces whose lifetimes meet do not overlap: greedy by size (Pisarchyk and Lee,
// "Efficient memory management for deep neural net inference", arXiv 2001.03288). Throws
// Error{OutOfMemory} when the total overflows.
Arena plan_arena(const std::vector<Lifetime>& lifetimes);

}  // namespace regraft::engine
