#include <algorithm>
#include <atomic>
#include <bit>

#include "base/fail.h"
#include "base/parallel.h"
#include "engine/weight_program_impl.h"

namespace regraft::engine {

size_t scratch_class(size_t bytes) {
  constexpr size_t kSmallest = size_t{1} << 16;
  return bytes > SIZE_MAX / 2 ? bytes : std::bit_ceil(std::max(bytes, kSmallest));
}

std::vector<WeightProgram::Task> WeightProgram::tasks_of(const WeightJob& job) const {
  std::vector<Task> tasks;
  std::vector<bool> touch = job.touch;
  touch.resize(parameter_count_, false);
  const auto present = [&](int32_t slot) { return job.present[slot] != nullptr; };
  for (const Unit& unit : units_) {
    const auto needed = needed_ops(unit, job.slots, present);
    Task task{&unit, {}, {}, 0};
    for (size_t i = 0; i < unit.ops.size(); ++i) {
      if (!needed[i]) continue;
      const Op& op = ops_[unit.ops[i]];
      task.ops.push_back(unit.ops[i]);
      task.bytes += op.bytes;
      for (const WeightAddress& address : op.inputs) {
        if (address.kind != WeightAddress::Parameter || !touch[address.index]) continue;
        touch[address.index] = false;
        task.touch.push_back(address.index);
      }
    }
    if (!task.ops.empty()) tasks.push_back(std::move(task));
  }
  for (size_t p = 0; p < touch.size(); ++p) {
    if (touch[p]) tasks.push_back({nullptr, {static_cast<int32_t>(p)}, {}, 0});
  }
  return tasks;
}

void WeightProgram::Run::inputs_of(const Op& op, std::byte* scratch,
                                   std::span<const void*> out) const {
  for (size_t i = 0; i < op.inputs.size(); ++i) {
    const WeightAddress& from = op.inputs[i];
    switch (from.kind) {
      case WeightAddress::Absent:
        out[i] = nullptr;
        break;
      case WeightAddress::Parameter:
        out[i] = job.parameters[from.index] + from.offset;
        break;
      case WeightAddress::Temporary:
        out[i] = scratch + from.offset;
        break;
      case WeightAddress::Slot:
        out[i] = read[from.index] + from.offset;
        break;
    }
  }
}

void WeightProgram::Run::outputs_of(const Op& op, std::byte* scratch, std::span<void*> out) const {
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    const WeightAddress& to = op.outputs[i];
    out[i] = (to.kind == WeightAddress::Slot ? write[to.index] : scratch) + to.offset;
  }
}

void WeightProgram::run_op(const Op& op, const Run& run, std::byte* scratch, std::byte* workspace,
                           backends::Stream stream) const {
  std::vector<const void*> inputs(op.inputs.size());
  std::vector<void*> outputs(op.outputs.size());
  run.inputs_of(op, scratch, inputs);
  run.outputs_of(op, scratch, outputs);
  op.kernel->run({inputs, outputs, workspace, stream});
}

void WeightProgram::run_task(const Task& task, const Run& run, BlockPool& pool) const {
  for (const int32_t parameter : task.touch)
    run.job.on_touch(parameter);
  if (task.unit == nullptr) return;
  std::shared_ptr<Block> scratch;
  const size_t bytes = task.unit->scratch + task.unit->workspace;
  if (bytes > 0) scratch = pool.take(scratch_class(bytes));
  std::byte* memory = scratch ? scratch->writable : nullptr;
  for (const int32_t i : task.ops)
    run_op(ops_[i], run, memory, memory + task.unit->scratch, nullptr);
}

// Of slots to compute and slots that are present alone; on a device, nothing is touched.
std::shared_ptr<const std::vector<WeightProgram::Task>> WeightProgram::device_tasks_of(
    const WeightJob& job) const {
  std::vector<bool> present(job.present.size());
  for (size_t s = 0; s < present.size(); ++s)
    present[s] = job.present[s] != nullptr;
  const std::lock_guard lock(last_mutex_);
  if (last_tasks_ == nullptr || last_slots_ != job.slots || last_present_ != present) {
    last_tasks_ = std::make_shared<const std::vector<Task>>(tasks_of(job));
    last_slots_ = job.slots;
    last_present_ = std::move(present);
  }
  return last_tasks_;
}

WeightProgram::Run WeightProgram::run_of(const WeightJob& job, const std::vector<Task>& tasks,
                                         BlockPool& pool,
                                         std::vector<std::shared_ptr<Block>>& thrown_away) const {
  Run run{job, job.present, job.targets};
  for (const Task& task : tasks) {
    for (const int32_t i : task.ops) {
      for (const WeightAddress& address : ops_[i].outputs) {
        if (address.kind != WeightAddress::Slot || job.slots[address.index]) continue;
        if (run.write[address.index] != nullptr) continue;
        thrown_away.push_back(pool.take(slot_bytes_[address.index]));
        run.write[address.index] = thrown_away.back()->writable;
        if (run.read[address.index] == nullptr) run.read[address.index] = run.write[address.index];
      }
    }
  }
  for (size_t s = 0; s < slot_count_; ++s) {
    if (job.slots[s]) run.read[s] = job.targets[s];
  }
  return run;
}

std::vector<uint64_t> WeightProgram::evaluate(const WeightJob& job, BlockPool& pool) const {
  if (!device_.is_host()) {
    const std::unique_ptr<Evaluation> evaluation = begin(job, pool);
    evaluation->launch();
    return evaluation->finish();
  }
  std::vector<Task> tasks = tasks_of(job);
  std::vector<std::shared_ptr<Block>> thrown_away;
  const Run run = run_of(job, tasks, pool, thrown_away);
  evaluate_on_host(std::move(tasks), run, pool);
  return {};
}

void WeightProgram::evaluate_on_host(std::vector<Task> tasks, const Run& run,
                                     BlockPool& pool) const {
  size_t total = 0;
  for (const Task& task : tasks)
    total += task.bytes;
  // A task that would keep one thread busy while the others are done is run by all of them.
  const auto threads = static_cast<size_t>(base::thread_count());
  const size_t large = std::max<size_t>(total / (2 * threads), size_t{1} << 20);
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const Task& a, const Task& b) { return a.bytes > b.bytes; });
  const base::FlushDenormals flush;
  size_t next = 0;
  while (next < tasks.size() && tasks[next].bytes > large) {
    total -= tasks[next].bytes;
    run_task(tasks[next++], run, pool);
  }
  // Waking threads for little work costs more than doing it.
  constexpr size_t kWorthATeam = size_t{1} << 17;
  std::atomic<size_t> queue{next};
  const auto team = static_cast<int64_t>(total < kWorthATeam ? 1 : threads);
  base::parallel_for(team, 1, [&](int64_t, int64_t) {
    for (size_t i = queue++; i < tasks.size(); i = queue++)
      run_task(tasks[i], run, pool);
  });
}

}  // namespace regraft::engine
