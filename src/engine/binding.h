#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "backends/run_backend.h"
#include "engine/memory.h"
#include "engine/shaped.h"
#include "engine/slots.h"

namespace regraft::engine {

// Base addresses that operands are relative to.
enum Base : int32_t { kAbsent = -1, kArena = 0, kShape = 1, kFirst = 2 };

// A base (kArena, kShape, kFirst + input, then outputs, then slots) and bytes from it.
struct Address {
  int32_t base = kAbsent;
  int64_t offset = 0;
};

struct PreparedStep {
  std::unique_ptr<const backends::Kernel> kernel;
  std::vector<Address> inputs, outputs;
};

// An output that no step writes (an input or constant handed on, or one value twice): copied after
// the last step.
struct OutputCopy {
  Address from, to;
  size_t bytes = 0;  // Of a row-major source.
  TensorView view;   // Else its dtype, dims and strides, without data.
};

// A plan at concrete shapes: prepared kernels and memory offsets. Immutable; shared by sessions.
class Binding {
 public:
  Binding(const plan::Plan& plan, const SlotTable& slots, const SymbolValues& values,
          backends::Device& device = backends::host_device());

  // For Bank::shape_values.
  std::shared_ptr<const Block> compute_shapes(std::span<std::byte* const> slots,
                                              BlockPool& pool) const;
  // Runs the compute steps, or enqueues them to the device's stream. `bases` as Base says; `arena`
  // has arena_bytes().
  // `laps`, with a point more than there are steps, is marked before the first and after each.
  void run(std::byte* const* bases, std::byte* workspace, backends::Stream stream = nullptr,
           backends::Laps* laps = nullptr) const;

  uint64_t id() const { return id_; }
  size_t arena_bytes() const { return arena_bytes_; }
  size_t workspace_bytes() const { return workspace_bytes_; }
  size_t base_count() const { return base_count_; }
  bool has_shape_values() const { return shape_bytes_ > 0; }
  const std::vector<Dims>& input_dims() const { return input_dims_; }
  const std::vector<Dims>& output_dims() const { return output_dims_; }
  const std::vector<PreparedStep>& shape_steps() const { return shape_steps_; }
  const std::vector<PreparedStep>& compute_steps() const { return compute_steps_; }

 private:
  struct Planner;
  backends::Device& device_;
  uint64_t id_;
  std::vector<PreparedStep> shape_steps_, compute_steps_;
  std::vector<OutputCopy> copies_;
  std::vector<Dims> input_dims_, output_dims_;
  size_t arena_bytes_ = 0, workspace_bytes_ = 0, shape_bytes_ = 0, shape_workspace_ = 0;
  size_t base_count_ = 0;
};

// The most recently used bindings. Thread-safe; two threads that miss the same shapes prepare them
// once.
class BindingCache {
 public:
  BindingCache(const plan::Plan& plan, const SlotTable& slots, size_t capacity,
               backends::Device& device = backends::host_device())
      : plan_(plan), slots_(slots), device_(device), capacity_(capacity < 1 ? 1 : capacity) {}

  std::shared_ptr<const Binding> get(const SymbolValues& values);
  // Null where there is none yet.
  std::shared_ptr<const Binding> find(const SymbolValues& values);
  size_t size() const;

 private:
  struct Entry {
    SymbolValues values;
    std::mutex preparing;
    std::shared_ptr<const Binding> binding;
  };
  // With mutex_: an entry, now the last used; null: none.
  std::shared_ptr<Entry> use(const SymbolValues& values);
  const plan::Plan& plan_;
  const SlotTable& slots_;
  backends::Device& device_;
  const size_t capacity_;
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<Entry>> entries_;  // Most recent first.
};

}  // namespace regraft::engine
