#pragma once

#include <map>
#include <string>
#include <vector>

#include "backends/run_backend.h"
#include "engine/step_work.h"
#include "regraft/profile.h"

namespace regraft::engine {

// The best that a backend's device does, measured when first asked for: a copy of memory that no
// cache holds, and large products. Not thread-safe.
class Roofline {
 public:
  Roofline(std::string_view backend, backends::Device& device);
  // The least time for the work, in seconds.
  double seconds(const StepWork& work);
  const std::vector<Peak>& peaks() const { return peaks_; }

 private:
  void measure_copy();
  // 0 where the backend has no such product.
  double measure_product(const std::string& kind);

  std::string backend_;
  backends::Device& device_;
  std::vector<Peak> peaks_;
  std::map<std::string, double> flops_;  // By kind of products.
};

}  // namespace regraft::engine
