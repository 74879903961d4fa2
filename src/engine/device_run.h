#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/bank.h"
#include "engine/binding.h"
#include "engine/scratch.h"
#include "regraft/tensor.h"

namespace regraft::engine {

class Core;

// Runs of one scratch on a device: orders them on the callers' streams, brings operands of the host
// to the device, and records what is repeated. Not thread-safe. Call with the device in use.
class DeviceRun {
 public:
  explicit DeviceRun(Core& core);
  ~DeviceRun();

  // Before the scratch's memory is touched or replaced: what is enqueued to `stream` follows the
  // run before.
  void begin(backends::Stream stream);
  // Enqueues a run of the binding to the stream of begin(). `bases` has the addresses of all but
  // inputs and outputs. Waits for the device only where an operand lies on the host.
  void run(const Binding& binding, const Bank& bank, std::span<const TensorView> inputs,
           std::span<const MutableTensorView> outputs, std::vector<std::byte*>& bases,
           std::byte* workspace, const Runner* runner = nullptr);
  // Records for the addresses of constants `to` what was repeated with those at `from`, so that the
  // first run after a refit finds its recording ready. Both as bases: shape values, then slots.
  void prepare(const Binding& binding, std::span<std::byte* const> from,
               std::span<std::byte* const> to, std::byte* workspace);
  bool has_recorded(const Binding& binding) const;
  size_t bytes() const { return staged_bytes_; }
  // Whether a recording of the caller's has a run.
  bool is_recorded() const { return is_recorded_; }

 private:
  struct Staged {
    std::shared_ptr<std::byte> memory;
    size_t bytes = 0;
  };
  struct Recorded {
    uint64_t binding = 0;
    std::vector<std::byte*> bases;
    std::byte* workspace = nullptr;
    std::unique_ptr<backends::Recording> recording;
    int launches = 0;
  };
  void check_recordable(std::span<const TensorView> inputs,
                        std::span<const MutableTensorView> outputs) const;
  std::byte* stage(size_t operand, size_t bytes);
  std::byte* place_input(size_t i, const TensorView& view);
  void launch(const Binding& binding, const std::vector<std::byte*>& bases, std::byte* workspace);
  // Null: the device cannot record.
  Recorded* record(const Binding& binding, const std::vector<std::byte*>& bases,
                   std::byte* workspace);
  bool repeats(const Recorded& run, const Binding& binding, const std::vector<std::byte*>& bases,
               const std::byte* workspace) const;

  Core& core_;
  backends::Device& device_;
  backends::Stream stream_ = nullptr;
  bool is_recording_ = false, is_recorded_ = false;  // By the caller.
  std::shared_ptr<backends::Event> last_;
  bool has_run_ = false;
  bool waits_ = false;          // An operand of the run lies on the host.
  std::vector<Staged> staged_;  // Inputs, then outputs.
  size_t staged_bytes_ = 0;
  std::vector<Tensor> row_major_;   // Strided host inputs, until the run is done.
  std::vector<Recorded> recorded_;  // Last used first.
  std::vector<Recorded> previous_;  // The last runs that were not recorded.
  int changes_ = 0;                 // Runs in a row whose operands lay elsewhere than before.
};

}  // namespace regraft::engine
