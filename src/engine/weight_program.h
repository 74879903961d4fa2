#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/memory.h"
#include "engine/shaped.h"
#include "engine/slots.h"

namespace regraft::engine {

// What one evaluation reads and writes. Indexed by parameter and by slot.
struct WeightJob {
  std::vector<bool> slots;                   // Which to compute.
  std::vector<const std::byte*> parameters;  // Row-major, declared dtype; null: not available.
  std::vector<std::byte*> targets;           // Of the slots to compute.
  std::vector<const std::byte*> present;     // Values of the other slots; null: none.
  // Work that each listed parameter needs once, in any order and on any thread, best just before
  // its bytes are read: retention copies, scans.
  std::vector<bool> touch;
  std::function<void(int32_t parameter)> on_touch;
  // On a device, by parameter: the row-major values that are given; null: not this one.
  std::vector<const TensorView*> values;
  // Whether to count the NaN and infinite elements of `values`.
  bool counts = false;
  // Where to write the bytes of `values` too; null: nowhere. Empty for none.
  std::vector<std::byte*> copies;
};

// The weight program prepared for this machine: all kernels, split into units that share no
// temporary, so that units run in parallel. Immutable and thread-safe.
class WeightProgram {
 public:
  // `plan` must outlive this.
  WeightProgram(const plan::Plan& plan, const std::vector<Slot>& slots,
                backends::Device& device = backends::host_device());
  ~WeightProgram();
  WeightProgram(const WeightProgram&) = delete;
  WeightProgram& operator=(const WeightProgram&) = delete;

  // Slots that depend on any of these parameters.
  std::vector<bool> closure(const std::vector<bool>& parameters) const;
  // Parameters whose bytes computing these slots reads, when the other slots are present or not.
  std::vector<bool> reads(const std::vector<bool>& slots, const std::vector<bool>& present) const;
  // Both for new values of these parameters, where all slots are present; the last ones asked for
  // are there already.
  struct Change {
    std::vector<bool> parameters, slots, reads;
  };
  std::shared_ptr<const Change> change_of(const std::vector<bool>& parameters) const;
  const std::vector<int32_t>& parameters_of(size_t slot) const { return depends_[slot]; }
  // The weight steps that the slot's value goes through, in order.
  std::vector<int32_t> steps_to(size_t slot) const;

  // Computes the slots. Temporaries come from `pool`. The bits of a slot depend on nothing but its
  // parameters: not on threads, nor on which other slots are computed. On an exception the targets'
  // contents are undefined.
  // On a device, the work is enqueued to its work stream and done when the call returns. Gives the
  // numbers of elements that job.counts asks for, by parameter, if there are values.
  std::vector<uint64_t> evaluate(const WeightJob& job, BlockPool& pool) const;

  // What was recorded of an evaluation on a device.
  struct Repeat;
  // An evaluation on a device in two parts. Not thread-safe.
  class Evaluation {
   public:
    virtual ~Evaluation() = default;
    virtual void launch() = 0;
    // After launch(): waits for the device and gives what evaluate() gives.
    virtual std::vector<uint64_t> finish() = 0;
    // After launch(), or of what prepare() gave: for again(). Null where it is not one launch that
    // needs nothing else.
    virtual std::shared_ptr<Repeat> repeat() const = 0;
  };
  // The job must live as long as the result.
  std::unique_ptr<Evaluation> begin(const WeightJob& job, BlockPool& pool) const;
  // As begin(), but nothing other than the device can make launch() and finish() fail. Null where
  // it cannot be one launch, where memory that it reads is memory that it writes, and the first
  // time that it comes with these addresses.
  std::unique_ptr<Evaluation> prepare(const WeightJob& job, BlockPool& pool) const;
  // As prepare(), of a job whose addresses are those of the one that was recorded. Null where
  // `pool` has no such scratch.
  std::unique_ptr<Evaluation> again(std::shared_ptr<Repeat> repeat, BlockPool& pool) const;

  std::string step_tactic(size_t step) const;
  std::string packing_tactic(size_t slot) const;  // Empty when the slot needs no packing kernel.

 private:
  struct Op;
  struct Unit;
  struct Run;
  struct Task;
  class DeviceEvaluation;
  class Repetition;
  void add_ops(const plan::Plan& plan, const std::vector<Slot>& slots);
  void split_units(const plan::Plan& plan);
  void place_temporaries(const plan::Plan& plan, Unit& unit);
  void find_dependencies();
  void find_stages();
  void make_group(const plan::Plan& plan);
  std::vector<bool> needed_ops(const Unit& unit, const std::vector<bool>& slots,
                               const std::function<bool(int32_t slot)>& present) const;
  std::vector<Task> tasks_of(const WeightJob& job) const;
  std::shared_ptr<const std::vector<Task>> device_tasks_of(const WeightJob& job) const;
  std::shared_ptr<Repeat> find_repeat(std::vector<const void*> key) const;
  Run run_of(const WeightJob& job, const std::vector<Task>& tasks, BlockPool& pool,
             std::vector<std::shared_ptr<Block>>& thrown_away) const;
  void evaluate_on_host(std::vector<Task> tasks, const Run& run, BlockPool& pool) const;
  void run_task(const Task& task, const Run& run, BlockPool& pool) const;
  void run_op(const Op& op, const Run& run, std::byte* scratch, std::byte* workspace,
              backends::Stream stream) const;

  backends::Device& device_;
  std::vector<Op> ops_;  // In an order in which every value is computed before use.
  std::vector<Unit> units_;
  std::unique_ptr<backends::KernelGroup> group_;  // Of the ops' kernels; null: they run alone.
  std::vector<int32_t> direct_slot_;              // By storage: the slot it lies in, or -1.
  std::vector<std::vector<int32_t>> depends_;     // By slot: parameters, sorted.
  std::vector<size_t> slot_bytes_;
  size_t slot_count_ = 0, parameter_count_ = 0;
  // The tasks of the last evaluation on a device: the next often is of the same kind.
  mutable std::mutex last_mutex_;
  mutable std::vector<bool> last_slots_, last_present_;
  mutable std::shared_ptr<const std::vector<Task>> last_tasks_;
  mutable std::shared_ptr<const Change> last_change_;
  mutable std::vector<std::shared_ptr<Repeat>> repeats_;  // The most recent first.
};

}  // namespace regraft::engine
