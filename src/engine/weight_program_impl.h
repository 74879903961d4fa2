#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <span>

#include "engine/weight_program.h"

namespace regraft::engine {

// Few different sizes, so that the pool finds the memory again after another kind of refit.
size_t scratch_class(size_t bytes);

// Where an operand's bytes are during an evaluation.
struct WeightAddress {
  enum Kind : uint8_t { Absent, Parameter, Temporary, Slot } kind = Absent;
  int32_t index = -1;     // Parameter, storage or slot.
  size_t offset = 0;      // Within it; of a temporary: within the unit's scratch, once placed.
  bool is_whole = false;  // All of a parameter.
};

// A weight step, the packing of a slot, or both in one kernel.
struct WeightProgram::Op {
  int32_t step = -1;  // Of plan.weight_steps; -1 for a packing alone.
  int32_t slot = -1;  // Packed slot; -1 for a step alone.
  std::unique_ptr<backends::Kernel> kernel;
  std::vector<WeightAddress> inputs, outputs;
  size_t bytes = 0;   // Read and written: its weight in the schedule.
  int32_t stage = 0;  // On a device: ops of one stage do not depend on each other.
};

// What one thread does in a piece: touch parameters, then run ops of one unit.
struct WeightProgram::Task {
  const Unit* unit = nullptr;  // Null: touches only.
  std::vector<int32_t> touch;
  std::vector<int32_t> ops;
  size_t bytes = 0;
};

// Ops that share temporaries. Different units can run at the same time.
struct WeightProgram::Unit {
  std::vector<int32_t> ops;  // In order.
  size_t scratch = 0;
  size_t workspace = 0;
};

// One evaluation.
struct WeightProgram::Run {
  const WeightJob& job;
  std::vector<const std::byte*> read;  // By slot.
  // By slot: where ops write it. A slot that is not wanted, but written by an op that is needed for
  // another, goes to memory that is thrown away.
  std::vector<std::byte*> write;

  void inputs_of(const Op& op, std::byte* scratch, std::span<const void*> out) const;
  void outputs_of(const Op& op, std::byte* scratch, std::span<void*> out) const;
};

// An evaluation on a device that came with these addresses before.
struct WeightProgram::Repeat {
  std::vector<const void*> key;
  size_t scratch_bytes = 0;
  std::byte* scratch = nullptr;
  bool throws_away = false;  // It writes to other memory of the pool, too.
  // Who launches it holds the lock until the device is done.
  std::mutex mutex;
  bool is_seen = false;                                     // It came before.
  bool is_refused = false;                                  // It cannot be recorded.
  std::unique_ptr<backends::Recording> whole;               // Null: not recorded yet.
  std::vector<std::unique_ptr<backends::Recording>> parts;  // Their tables are what it reads.
  // By parameter: the elements found, pinned; null: nothing to count.
  std::shared_ptr<std::byte> counts;
  size_t parameters = 0;
};

// One launch of what was recorded.
class WeightProgram::Repetition final : public Evaluation {
 public:
  // `lock` is of the repeat's mutex.
  Repetition(backends::Device& device, std::shared_ptr<Repeat> repeat,
             std::unique_lock<std::mutex> lock, std::shared_ptr<Block> scratch = nullptr);
  // Waits for what was launched: the memory it reads may go.
  ~Repetition() override;
  Repetition(const Repetition&) = delete;
  Repetition& operator=(const Repetition&) = delete;
  void launch() override;
  std::vector<uint64_t> finish() override;
  std::shared_ptr<Repeat> repeat() const override;

 private:
  backends::Device& device_;
  std::shared_ptr<Block> scratch_;
  std::shared_ptr<Repeat> repeat_;
  std::unique_lock<std::mutex> lock_;
  std::vector<uint64_t> found_;  // What finish() gives.
  bool is_running_ = false;
};

// The tasks of one evaluation on a device: ops of all units, stage by stage.
class WeightProgram::DeviceEvaluation final : public Evaluation {
 public:
  DeviceEvaluation(const WeightProgram& program, const WeightJob& job, BlockPool& pool);
  // Waits for what was enqueued: the memory it reads may go.
  ~DeviceEvaluation() override;
  DeviceEvaluation(const DeviceEvaluation&) = delete;
  DeviceEvaluation& operator=(const DeviceEvaluation&) = delete;
  // Whether launch() is one launch.
  bool try_prepare();
  void launch() override;
  std::vector<uint64_t> finish() override;
  std::shared_ptr<Repeat> repeat() const override;

 private:
  struct Placed {
    const Op* op;
    size_t index;  // Among the program's.
    std::byte *scratch, *workspace;
  };
  using Stages = std::vector<std::vector<Placed>>;
  using Calls = std::vector<std::vector<backends::KernelGroup::Call>>;
  // What a piece of work is made of, in its order.
  struct Visitor {
    std::function<void(const Calls& stages)> grouped;
    std::function<void(const Placed& op)> alone;
  };
  std::byte* take_scratch(size_t bytes);
  size_t scratch_of(const Task& task) const;
  Stages stages_of(std::span<const Task> tasks, std::byte* memory) const;
  void visit(const Stages& stages, const Visitor& visitor);
  void enqueue_pieces();
  void enqueue(const Stages& stages);
  void find_repeat();
  void record();
  // What is enqueued one after the other, each time a recording is made.
  struct Launches {
    std::vector<backends::Device::Enqueue> all;
    bool can_repeat = true;
    void add(std::unique_ptr<backends::Recording> part, Repeat& repeat);
  };
  std::unique_ptr<backends::Recording> record(Repeat& repeat);
  void add_launches(const Stages& stages, Repeat& repeat, Launches& launches);
  std::vector<const void*> key_of(const std::byte* scratch) const;
  bool reads_what_it_writes() const;
  bool is_grouped(size_t op) const;
  void reserve_operands(const Stages& stages);
  backends::KernelGroup::Call call_of(const Placed& placed);
  void pass_on(const Placed& placed, std::span<uint64_t*> counters, std::span<std::byte*> copies);
  std::vector<base::BlockCopy> copies_left() const;
  std::vector<TensorView> counts_left(std::vector<uint64_t*>& counters) const;

  const WeightProgram& program_;
  BlockPool& pool_;
  std::shared_ptr<const std::vector<Task>> tasks_;
  std::vector<std::shared_ptr<Block>> kept_;  // Until the device is done.
  Run run_;
  std::vector<bool> counts_, copies_;  // By parameter: still to be counted, copied.
  bool has_counts_ = false;
  std::byte* counters_ = nullptr;  // By parameter.
  std::byte* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
  bool throws_away_ = false;
  std::shared_ptr<Repeat> repeat_;          // Null: the work is more than one piece.
  std::unique_ptr<Repetition> repetition_;  // Null: it is not recorded.
  bool is_running_ = false;
  // Operands of the calls being enqueued, one after the other.
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
  std::vector<uint64_t*> counter_lists_;
  std::vector<std::byte*> copy_lists_;
};

}  // namespace regraft::engine
