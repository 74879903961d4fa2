#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tensor/attributes.h"
#include "tensor/size_guard.h"

namespace regraft::plan {

// A plan is what a backend's compiler makes of a graph: steps over buffers, symbolic in shapes,
// with no pointer, no weight value and no choice that depends on one machine. It is what an engine
// file stores. Plain data.

enum class StorageKind : uint8_t {
  Input = 0,      // Memory of the caller, read only; `index` into inputs.
  Output = 1,     // Memory handed to the caller, row-major; `index` into outputs.
  Parameter = 2,  // A parameter in its declared dtype, row-major; `index` into parameters.
  Constant = 3,   // A block of the bank; `index` into constants.
  Weight = 4,     // Temporary of the weight program.
  Shape = 5,      // Computed once per generation and binding.
  Compute = 6,    // Temporary of one run; lives in the arena.
};

// A piece of memory. Views of one storage are buffers with strides and an offset.
struct Storage {
  StorageKind kind = StorageKind::Compute;
  int32_t index = -1;  // For Input, Output, Parameter and Constant.
  SymInt bytes;
};

// A typed, strided view of a storage. Strides and offset are in elements.
struct Buffer {
  std::string name;
  TensorType type;
  SymDims strides;
  SymInt offset;
  int32_t storage = -1;
};

// One kernel call. `kernel` is "<backend>.<name>", so a plan of one backend may use kernels of
// another that shares its memory (the cpu backend's plans use "reference.*" for rare ops).
struct Step {
  std::string kernel;
  std::vector<int32_t> inputs;   // Buffers; -1 for an absent optional tensor.
  std::vector<int32_t> outputs;  // Buffers; disjoint from the inputs' storage unless `in_place`.
  Attributes attributes;
  std::string origin;     // Name of the exported node, for messages and profiles.
  bool in_place = false;  // The kernel may be given outputs[0] in the memory of inputs[0].
};

struct Symbol {
  std::string name;
  int64_t min = 0;
  int64_t max = INT64_MAX;
  int64_t optimum = 0;  // The size to tune for; 0: none stated.

  // The optimum, else the smallest size that is not 0 or 1 if the range has one.
  int64_t tuned_size() const { return optimum != 0 ? optimum : std::clamp<int64_t>(2, min, max); }
};

SymbolValues tuned_sizes(const std::vector<Symbol>& symbols);

// A boundary tensor: its name in the program and the buffer that holds it.
struct Port {
  std::string name;
  int32_t buffer = -1;
};

// A parameter the weight program reads. `buffer` has a Parameter storage.
struct Parameter {
  std::string name;                  // FQN, canonical among ties.
  std::vector<std::string> aliases;  // Other FQNs of the same tensor (tied weights).
  int32_t buffer = -1;
  // The values are used as indices and must lie in [0, bound): checked by every refit. -1: no
  // guard.
  int64_t index_bound = -1;
  // Not part of a checkpoint (buffers that are not persistent, tensors lifted out of the code): a
  // refit that does not bring it keeps its value.
  bool optional = false;
};

// A constant: what the weight program hands to the compute program. `source` (a Weight or
// Parameter buffer) is its logical value; `buffer` (Constant storage) is what steps read, in the
// packing that the backend chooses when the plan is realised. Where the dtypes of the two differ,
// packing converts, in one rounding.
struct Constant {
  std::string name;
  int32_t source = -1;
  int32_t buffer = -1;
};

struct Plan {
  std::string backend;
  std::vector<Symbol> symbols;
  std::vector<SizeGuard> guards;  // Of symbols.
  std::vector<Storage> storages;
  std::vector<Buffer> buffers;
  std::vector<Port> inputs;
  std::vector<Port> outputs;
  std::vector<Parameter> parameters;
  std::vector<Constant> constants;
  std::vector<Step> weight_steps;   // Parameters -> Weight buffers. All sizes are constants.
  std::vector<Step> shape_steps;    // Constants and symbols -> Shape buffers.
  std::vector<Step> compute_steps;  // Everything -> outputs.

  const Storage& storage_of(int32_t buffer) const { return storages[buffers[buffer].storage]; }
};

// Checks every index, storage kind, order of definition and use, attribute resolvability and that
// no buffer reaches beyond its storage for any value of the symbols it can check. A plan that
// passes cannot make the engine read or write outside its memory. Throws Error{"plan", Corrupt}.
void verify(const Plan& plan);

// Readable listing: one line per step, for `regraft inspect`.
std::string to_string(const Plan& plan);

// The values of all symbols from the dims of the inputs; solves linear expressions of one symbol.
// Throws Error{"engine", Mismatch} naming every input whose rank or sizes do not fit, with the
// declared shape and ranges, and every guard that does not hold.
SymbolValues solve_symbols(const Plan& plan, const std::vector<Dims>& input_dims);

}  // namespace regraft::plan
