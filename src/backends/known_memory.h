#pragma once

#include <map>

#include "backends/device.h"

namespace regraft::backends {

// Which memory a device holds: asked of it once for each allocation. Those it was asked about must
// stay while this lives. Not thread-safe.
class KnownMemory {
 public:
  explicit KnownMemory(const Device& device) : device_(device) {}

  // As Device::holds().
  bool holds(const void* data) {
    if (device_.is_host()) return true;
    const auto address = reinterpret_cast<uintptr_t>(data);
    auto known = ends_.upper_bound(address);
    if (known != ends_.end() && known->second <= address) return true;
    const Allocation found = device_.allocation_of(data);
    if (found.is_held) ends_[found.end] = found.begin;
    return found.is_held;
  }

 private:
  const Device& device_;
  std::map<uintptr_t, uintptr_t> ends_;  // Of allocations that it holds: end to begin.
};

}  // namespace regraft::backends
