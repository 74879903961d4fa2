#pragma once

#include <memory>
#include <vector>

#include "backends/known_memory.h"
#include "engine/memory.h"

namespace regraft::refit {

// Weights with adapters added to them, all at once where the engine runs.
class Merges {
 public:
  Merges(backends::Device& device, engine::BlockPool& pool, backends::KnownMemory& memory)
      : device_(device), pool_(pool), memory_(memory) {}

  // `base`: row-major, where kernels can read it, there until the device is done. The terms fit it
  // and are active; they may lie on the host or the device, and must stay there as long.
  void add(const TensorView& base, void* to, const std::vector<LoraTerm>& terms);
  // On a device, enqueues it to the work stream. Throws Error{Unsupported} when it merges none.
  void run();

 private:
  TensorView matrix_of(const TensorView& factor);

  backends::Device& device_;
  engine::BlockPool& pool_;
  backends::KnownMemory& memory_;
  std::vector<backends::LoraMerge> merges_;
  // Factors brought to the device, and what they are copied from.
  std::vector<std::shared_ptr<engine::Block>> blocks_;
  std::vector<Tensor> kept_;
  std::vector<base::BlockCopy> uploads_;
};

}  // namespace regraft::refit
