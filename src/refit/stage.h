#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/core.h"
#include "refit/problems.h"
#include "regraft/refit.h"
#include "regraft/weight_source.h"

namespace regraft::refit {

// The tensors of a source, matched to the engine's parameters.
struct Staged {
  std::vector<std::optional<SourceTensor>> tensors;  // By parameter.
  std::vector<std::string> unused;                   // Names that feed nothing.
  // Second names of a parameter whose tensors have the same values in other memory.
  std::vector<std::string> copies;
  uint64_t bytes = 0;
  // By parameter: the tensor in the declared dtype, if it is given and kernels can read it where it
  // lies; null data otherwise.
  std::vector<TensorView> readable;
};

// Matches names (aliases and ties included), checks dims and dtypes, opens every tensor. Before the
// `first` weights, optional parameters that the source lacks come from the engine file. Reports
// every offender to `problems`; the result is complete only if there are none.
Staged stage(const engine::Core& core, const WeightSource& source, const RefitOptions& options,
             bool first, Problems& problems);

}  // namespace regraft::refit
