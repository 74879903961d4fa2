#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "regraft/tensor.h"

namespace regraft {

// A low-rank change of a weight: scale * B @ A.
struct LoraTerm {
  TensorView a;  // [rank, in] or [rank, in, kernel...]
  TensorView b;  // [out, rank] or [out, rank, 1...]
  float scale = 1;
  // The weight is stored [in, out] (GPT-2's linears, embeddings): adds the transposed product.
  bool transposed = false;
};

// One tensor of a source.
struct SourceTensor {
  TensorView view;
  // Keeps the memory of `view` alive.
  std::shared_ptr<const void> owner;
  // The bytes cannot change while `owner` lives (a mapped file, a decoded buffer), so an engine may
  // keep the tensor instead of copying it. False for memory that the caller may write to later.
  bool stable = false;
  // Added to `view`, in memory that stays as long as `view` does. A refit takes the sum where the
  // engine runs: over each rank in its order in f32, scaled, over the terms in their order, onto
  // the value in the declared dtype, rounded once. Without terms, or with scales of 0 alone, the
  // tensor is `view` to the bit. Others than refits do not look at them.
  std::vector<LoraTerm> terms{};
};

// Where weights come from: tensors by name. Reading may decode or convert layout, never values.
// Thread-safety: const calls may run concurrently.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // Every name, in the source's own order, each once.
  virtual std::vector<std::string> names() const = 0;
  // dtype and dims without touching the bytes: `data` of the result is null.
  // Throws Error{NotFound} for a name that is not in names().
  virtual TensorView spec(std::string_view name) const = 0;
  // Throws Error{NotFound}, and Error{Corrupt} or Error{Io} when the bytes cannot be had.
  virtual SourceTensor read(std::string_view name) const = 0;
  // For messages: a path, or "mapping of 161 tensors".
  virtual std::string description() const = 0;
};

// Tensors in memory, by name. The views must stay valid and unchanged until the call that the
// source is handed to returns (unless `stable`).
std::shared_ptr<const WeightSource> make_source(
    std::vector<std::pair<std::string, SourceTensor>> tensors);

// Those tensors of `source` that have one of these names; others in `names` are left out.
std::shared_ptr<const WeightSource> select_tensors(std::shared_ptr<const WeightSource> source,
                                                   const std::vector<std::string>& names);

// Opens a ".safetensors" or ".pt2" file (told apart by content, not by extension) and maps it; the
// whole header is checked before the call returns. Sources and engines may go on reading the
// mapping (Retain::Auto): replace such a file by renaming another one to its name, as the writers
// of this library and of safetensors do, never write into it. Throws Error{NotFound, Io, Corrupt,
// Version, Unsupported, OutOfMemory}.
std::shared_ptr<const WeightSource> open_source(const std::string& path);

}  // namespace regraft
