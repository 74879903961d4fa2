#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "backends/cuda/run/kernel.h"

namespace regraft::cuda {

// One way to solve a problem: a library's algorithm.
struct Candidate {
  std::string id;
  size_t workspace_bytes = 0;
  std::function<void(const KernelArguments&)> run;
};

// Chooses among the algorithms that a library offers for a problem, best guess first. In this order
// of precedence: the one that a realised plan names; the one that this process took before, so that
// equal problems have equal bits; the one in the timing cache, a folder that processes share
// (REGRAFT_CUDA_TIMING_CACHE); the fastest on the device. Steps whose choice no realised plan would
// name, and all steps where REGRAFT_CUDA_TACTICS is "heuristic", take the first. Thread-safe.
class Tuner {
 public:
  explicit Tuner(CudaDevice& device) : device_(device) {}

  // The id to take, if it is known without timing. `kind` is what ids begin with ("cublasLt:") and
  // `nth` says which of the request's choices of this kind it is.
  std::optional<std::string> known(const KernelRequest& request, const std::string& problem,
                                   std::string_view kind, size_t nth = 0);
  static bool may_time(const KernelRequest& request);
  // Times the candidates on random operands of the request and keeps the choice.
  size_t fastest(const KernelRequest& request, const std::string& problem,
                 std::span<const Candidate> candidates);

 private:
  std::string cache_file(const std::string& problem) const;
  void keep(const std::string& problem, const std::string& id);

  CudaDevice& device_;
  std::mutex mutex_;
  std::map<std::string, std::string> choices_;  // Problem to id.
};

Tuner& tuner_of(CudaDevice& device);

}  // namespace regraft::cuda
