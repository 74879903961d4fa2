#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/run/pointwise.h"
#include "backends/cuda/run/work_table.h"

namespace regraft::cuda {

// Pointwise kernels as one launch: their bodies are the cases of one kernel, each piece of which
// finds its own in a table.
class PointwiseGroup final : public backends::KernelGroup {
 public:
  PointwiseGroup(CudaDevice& device, std::span<const Kernel* const> kernels);
  bool takes(size_t kernel) const override { return !parts_[kernel].empty(); }
  int64_t passes(size_t kernel, size_t input) const override {
    return input < passes_[kernel].size() ? passes_[kernel][input] : 0;
  }
  void run(std::span<const std::vector<Call>> stages) const override;
  std::unique_ptr<backends::Recording> record(
      std::span<const std::vector<Call>> stages) const override;

  // The kernel's text, for tests that compile it.
  const std::string& source() const { return source_; }

 private:
  struct Part {
    uint64_t variant = 0;
    size_t layout = 0;  // First word of it.
    int64_t blocks = 0;
    std::vector<Place> operands;
    std::vector<size_t> passed;  // Inputs of the part's program whose elements it reads once.
    int64_t elements = 0;        // Of each.
  };
  void add(size_t kernel, const PointwiseSpec& spec);
  void find_passes(size_t kernel);
  std::vector<WorkTable> tables_of(std::span<const std::vector<Call>> stages) const;
  int64_t share_of(std::span<const Call> stage) const;
  void add_work(WorkTable& table, const Part& part, const Call& call, int64_t share) const;

  CudaDevice& device_;
  std::vector<std::vector<Part>> parts_;      // By kernel; none: not of this kind.
  std::vector<std::vector<int64_t>> passes_;  // By kernel and input.
  std::vector<std::string> bodies_;           // By variant.
  bool has_tiles_ = false;
  std::string source_;
  std::vector<int64_t> layouts_;
  std::shared_ptr<std::byte> uploaded_;
  CUfunction function_ = nullptr;
};

}  // namespace regraft::cuda
