#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backends/known_memory.h"
#include "engine/core.h"
#include "refit/problems.h"
#include "regraft/refit.h"
#include "regraft/weight_source.h"
#include "sources/memory_source.h"

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
  // By parameter: whether it is given in host memory, and its bytes there are those that kernels of
  // a device want.
  std::vector<bool> brought;

  // What a refit from these tensors reads and writes.
  struct Scope {
    bool has_base = false;
    std::vector<bool> given;  // By parameter.
    std::vector<bool> slots;  // That depend on them.
    std::vector<bool> reads;  // By parameter: what computing those slots needs.
  };
  // Of an engine that has weights, or not. Not thread-safe.
  const Scope& scope_of(const engine::Core& core, bool has_base) const;
  // The lists of a report on such a refit. Not thread-safe.
  struct Names {
    std::vector<std::string> updated, parameters;
    size_t untouched = 0;
  };
  Names names(const engine::Core& core, const Scope& scope) const;
  // Makes those of the next refit while there is time; without memory, it does not.
  void make_next_names(const engine::Core& core, const Scope& scope) const noexcept;

  // A refit from these tensors that was recorded: the same again wherever they, the weights before
  // and those after it lie in the same memory.
  struct Repetition {
    std::vector<const void*> places;
    bool counts = false;  // Elements that are not finite.
    std::shared_ptr<engine::WeightProgram::Repeat> repeat;
    uint64_t bytes_out = 0;
    // Of what was brought: to memory of the weights after it, and to the pool's at `staging`.
    std::vector<base::BlockCopy> uploads;
    const std::byte* staging = nullptr;
    size_t staging_bytes = 0;
  };
  // Null: none. Neither is thread-safe.
  const Repetition* find_repetition(const std::vector<const void*>& places, bool counts) const;
  void remember(Repetition repetition) const;

  // Staging `source` with `options` gives the same again: tensors of the caller's memory with the
  // same names, addresses, dims, strides and dtypes. False when nothing was remembered.
  bool is_of(const WeightSource& source, const RefitOptions& options) const;
  // For is_of(), where that can be told without looking at values; of a refit that had weights
  // before.
  void remember(const WeightSource& source, const RefitOptions& options);
  bool is_remembered() const { return remembered_ != nullptr; }

 private:
  std::shared_ptr<const sources::Tensors> remembered_;
  bool partial_ = false, cast_ = false, allow_unexpected_ = false;
  mutable std::optional<Scope> scope_;
  mutable std::optional<Names> next_names_;
  mutable std::vector<Repetition> repetitions_;  // The most recent first.
};

// Whether kernels can read the value of a parameter where `view` has it: row-major, in the declared
// dtype, aligned, and in memory of the engine's device.
bool is_readable(const engine::Core& core, backends::KnownMemory& memory, size_t parameter,
                 const TensorView& view);

// Matches names (aliases and ties included), checks dims and dtypes, opens every tensor. Before the
// `first` weights, optional parameters that the source lacks come from the engine file. Reports
// every offender to `problems`; the result is complete only if there are none.
Staged stage(const engine::Core& core, const WeightSource& source, const RefitOptions& options,
             bool first, Problems& problems);

}  // namespace regraft::refit
