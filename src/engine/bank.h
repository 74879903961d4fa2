#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/memory.h"
#include "regraft/tensor.h"

namespace regraft::engine {

// The value of a parameter as far as the engine keeps it. `data` is null when it does not.
struct ParameterValue {
  const std::byte* data = nullptr;  // Row-major, declared dtype: Core::view_of().
  size_t bytes = 0;
  std::shared_ptr<Block> block;       // Memory of its own, if it has any.
  std::shared_ptr<const void> owner;  // Else whatever keeps the memory.
  bool is_constant = false;           // The memory is that of a slot.
  bool is_mapped = false;             // The memory belongs to the source.
  bool on_host = true;                // Else it is memory of the engine's device.
};

// One generation of an engine's weights. Immutable once published, but for the cache of shape
// values. Shares blocks with the generations before and after it.
class Bank {
 public:
  Bank() = default;
  ~Bank();
  Bank(const Bank&) = delete;
  Bank& operator=(const Bank&) = delete;

  uint64_t generation = 0;
  std::vector<std::shared_ptr<Block>> slots;
  std::vector<ParameterValue> parameters;

  // The values of a binding's shape steps under these weights, computed on the first call; the
  // `capacity` most recently computed are kept. Calls for one bank take turns. `binding` is an id
  // that is never reused.
  std::shared_ptr<const Block> shape_values(
      uint64_t binding, size_t capacity,
      const std::function<std::shared_ptr<const Block>()>& compute) const;
  // Enqueued work reads the bank until `event`; `pool` is where its blocks go back to. The event is
  // one of few, recorded again and again.
  void note_use(const std::shared_ptr<backends::Event>& event,
                const std::shared_ptr<BlockPool>& pool) const;
  // Blocks until no enqueued work reads the bank.
  void wait_for_uses() const;
  // Another bank of the same weights, which shares all blocks.
  std::shared_ptr<Bank> copy() const;
  // Takes over the shape values of a bank whose constants read by shape steps are the same.
  void inherit_shape_values(const Bank& from);

 private:
  void let_go() const;

  mutable std::mutex mutex_;
  mutable std::deque<std::pair<uint64_t, std::shared_ptr<const Block>>> shapes_;
  mutable std::mutex uses_mutex_;
  mutable std::vector<std::shared_ptr<backends::Event>> uses_;
  mutable std::shared_ptr<BlockPool> pool_;
};

}  // namespace regraft::engine
