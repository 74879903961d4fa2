#pragma once

#include <memory>
#include <optional>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// query, key, value, mask -> [batch..., queries, features of value]: the operands over common batch
// dimensions.
struct AttentionProblem {
  explicit AttentionProblem(const KernelRequest& request);

  LaunchOperand query, key, value, out;  // Over batch, then their own matrix.
  std::optional<LaunchOperand> mask;     // Over batch, queries and keys.
  Dims batch;
  int64_t queries = 0, keys = 0, features = 0;
  double scale = 1;
  bool causal = false;
  // No batch dimensions fit key and value both: every head of the query needs its own copy.
  bool copies = false;

 private:
  void split(LaunchOperand& operand) const;
  // Where one head of key or value serves several of the query: the heads as three dimensions,
  // over each of which all operands walk evenly.
  Dims levels_;
};

// One kernel for all of it: f16 and bf16, features in multiples of 8, next to each other. How its
// blocks divide the work is the tuner's choice. Null where the operands are others.
std::unique_ptr<Kernel> try_make_flash(CudaDevice& device, const KernelRequest& request,
                                       const AttentionProblem& problem);

}  // namespace regraft::cuda
