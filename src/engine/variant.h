#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

#include "engine/core.h"
#include "engine/publisher.h"
#include "engine/scratch.h"

namespace regraft {
class Weights;
}

namespace regraft::refit {
struct Staged;
}

namespace regraft::engine {

// One set of weights over a core that forks share. Thread-safe.
class Variant : public std::enable_shared_from_this<Variant> {
 public:
  explicit Variant(std::shared_ptr<Core> core, std::shared_ptr<const Bank> bank = nullptr);

  Core& core() const { return *core_; }
  const std::shared_ptr<Core>& shared_core() const { return core_; }
  Publisher& publisher() { return publisher_; }
  // Held by a refit from its start to its end: refits of a variant take turns.
  std::mutex& refit_mutex() { return refit_mutex_; }
  // For who holds it: what refits use again and again. On a device, the point from which on the
  // source's tensors are there.
  backends::Event& ready_event();
  // Memory of the host, of `bytes` at least, that the device copies to without a detour.
  std::byte* pinned(size_t bytes);
  // Frees what refits keep for the next.
  void trim();
  // What the last refit found of a source, for one that is the same.
  std::shared_ptr<const refit::Staged>& last_staged() { return last_staged_; }
  uint64_t next_generation();
  MemoryReport memory() const;

 private:
  std::shared_ptr<Core> core_;
  mutable Publisher publisher_;
  std::mutex refit_mutex_;
  std::shared_ptr<backends::Event> ready_event_;
  std::shared_ptr<std::byte> pinned_;
  size_t pinned_bytes_ = 0;
  std::shared_ptr<const refit::Staged> last_staged_;
  std::mutex counter_mutex_;
  uint64_t last_generation_ = 0;
};

// Reads a variant's bank while alive.
class Reader {
 public:
  // Throws Error{"engine", State} when the variant has no weights yet.
  explicit Reader(Variant& variant);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  const std::shared_ptr<const Bank>& bank() const { return bank_; }

 private:
  Variant& variant_;
  std::shared_ptr<const Bank> bank_;
};

// What a public Weights handle holds.
struct Pin {
  explicit Pin(std::shared_ptr<Variant> of) : variant(std::move(of)), reader(*variant) {}
  std::shared_ptr<Variant> variant;
  Reader reader;
};

// Throws Error{"engine", InvalidArgument} when the weights are none, or not of this core's engine
// or its forks.
const Bank& bank_of(const Weights& weights, const Core& core);

}  // namespace regraft::engine
