#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/bank.h"
#include "engine/binding.h"
#include "regraft/tensor.h"

namespace regraft::engine {

class Core;
class DeviceRun;

// Runs a binding whose operands lie at `bases`, in place of what Binding::run or a recording of it
// would do.
using Runner = std::function<void(const Binding& binding, std::byte* const* bases,
                                  std::byte* workspace, backends::Stream stream)>;

// The memory of one caller at a time: arena, workspace, copies of strided inputs. Grows to the
// largest shapes it has seen. On a device, runs of one scratch follow each other. Not thread-safe.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // The binding for inputs of these specs. Throws Error{"engine", Mismatch} naming every input
  // whose dtype, rank or sizes do not fit. For a run that the caller records, Error{"engine",
  // State} where none is prepared: that takes more than enqueuing.
  const Binding& bind(Core& core, std::span<const TensorView> inputs, bool is_recorded = false);
  // Runs the binding of the last bind() on inputs of the same dims. Throws Error{"engine",
  // Mismatch} naming every output that does not fit.
  void run(Core& core, const Bank& bank, std::span<const TensorView> inputs,
           std::span<const MutableTensorView> outputs, backends::Stream stream = nullptr,
           const Runner* runner = nullptr);
  // On a device: makes what was repeated with the constants of `from` ready to be run with those of
  // `to`.
  void prepare(Core& core, const Bank& from, const Bank& to);
  size_t bytes() const;
  // A recording of the caller's uses the memory, from the run on that was recorded.
  bool is_recorded() const;

 private:
  struct Copy {
    std::shared_ptr<std::byte> memory;
    size_t bytes = 0;
  };
  const std::byte* row_major(size_t input, const TensorView& view, size_t limit);
  void place_slots(Core& core, const Binding& binding, const Bank& bank, size_t first_slot,
                   std::shared_ptr<const Block>& shapes);
  // Shape values, then slots, as bases have them.
  std::vector<std::byte*> constants(Core& core, const Binding& binding, const Bank& bank);
  void reserve(Core& core, const Binding& binding);

  std::vector<std::shared_ptr<const Binding>> recent_;  // Last used first.
  std::shared_ptr<std::byte> arena_, workspace_;
  size_t arena_bytes_ = 0, workspace_bytes_ = 0, strided_bytes_ = 0;
  std::vector<Copy> strided_;  // By input.
  std::vector<std::byte*> bases_;
  std::shared_ptr<const Block> recorded_shapes_;  // Of a run that the caller recorded.
  std::unique_ptr<DeviceRun> device_run_;
};

}  // namespace regraft::engine
