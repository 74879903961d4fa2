#include <algorithm>

#include "base/fail.h"
#include "engine/weight_program_impl.h"

namespace regraft::engine {

WeightProgram::DeviceEvaluation::DeviceEvaluation(const WeightProgram& program, const Run& run,
                                                  BlockPool& pool)
    : program_(program), run_(run), pool_(pool) {
  counts_.resize(program.parameter_count_, false);
  for (size_t p = 0; p < run.job.counted.size(); ++p)
    counts_[p] = run.job.counted[p] != nullptr && run.job.counted[p]->count() > 0;
  if (std::find(counts_.begin(), counts_.end(), true) == counts_.end()) return;
  counters_ = pool_.take(counts_.size() * sizeof(uint64_t));
  program_.device_.clear(counters_->writable, counters_->bytes);
}

WeightProgram::DeviceEvaluation::~DeviceEvaluation() {
  if (is_finished_) return;
  try {
    program_.device_.synchronise(program_.device_.work_stream());
  } catch (const Error&) {
    // Whoever left before finish() says what went wrong.
  }
}

// All units of a piece have their scratch at once.
void WeightProgram::DeviceEvaluation::enqueue(const std::vector<Task>& tasks) {
  constexpr size_t kMostScratch = size_t{256} << 20;
  size_t first = 0, bytes = 0;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const Unit* unit = tasks[t].unit;
    const size_t wanted = unit == nullptr ? 0 : unit->scratch + unit->workspace;
    if (t > first && bytes + wanted > kMostScratch) {
      enqueue_piece(std::span(tasks).subspan(first, t - first), bytes);
      first = t;
      bytes = 0;
    }
    bytes += wanted;
  }
  enqueue_piece(std::span(tasks).subspan(first), bytes);
}

void WeightProgram::DeviceEvaluation::enqueue_piece(std::span<const Task> tasks,
                                                    size_t scratch_bytes) {
  std::byte* memory = nullptr;
  if (scratch_bytes > 0) {
    kept_.push_back(pool_.take(scratch_class(scratch_bytes)));
    memory = kept_.back()->writable;
  }
  std::vector<std::vector<Placed>> stages;
  for (const Task& task : tasks) {
    if (task.unit == nullptr) continue;
    for (const int32_t i : task.ops) {
      const Op& op = program_.ops_[i];
      const auto stage = static_cast<size_t>(op.stage);
      if (stages.size() <= stage) stages.resize(stage + 1);
      stages[stage].push_back({&op, static_cast<size_t>(i), memory, memory + task.unit->scratch});
    }
    memory += task.unit->scratch + task.unit->workspace;
  }
  enqueue_stages(stages);
}

bool WeightProgram::DeviceEvaluation::is_grouped(const Placed& placed) const {
  return program_.group_ != nullptr && program_.group_->takes(placed.index);
}

// Stages whose ops the group takes go to it together, as many as follow each other.
void WeightProgram::DeviceEvaluation::enqueue_stages(
    const std::vector<std::vector<Placed>>& stages) {
  size_t inputs = 0, outputs = 0;
  for (const std::vector<Placed>& stage : stages) {
    for (const Placed& placed : stage) {
      inputs += placed.op->inputs.size();
      outputs += placed.op->outputs.size();
    }
  }
  // Calls point into these: they must not grow.
  inputs_.reserve(inputs);
  outputs_.reserve(outputs);
  counter_lists_.reserve(inputs);
  std::vector<std::vector<backends::KernelGroup::Call>> grouped;
  const auto flush = [&] {
    if (!grouped.empty()) program_.group_->run(grouped);
    grouped.clear();
  };
  for (const std::vector<Placed>& stage : stages) {
    std::vector<backends::KernelGroup::Call> calls;
    calls.reserve(stage.size());
    for (const Placed& placed : stage) {
      if (is_grouped(placed)) {
        calls.push_back(call_of(placed));
        continue;
      }
      flush();  // It may read what the stages before write.
      program_.run_op(*placed.op, run_, placed.scratch, placed.workspace);
    }
    if (!calls.empty()) grouped.push_back(std::move(calls));
  }
  flush();
  inputs_.clear();
  outputs_.clear();
  counter_lists_.clear();
}

backends::KernelGroup::Call WeightProgram::DeviceEvaluation::call_of(const Placed& placed) {
  const size_t first_input = inputs_.size(), first_output = outputs_.size();
  inputs_.resize(first_input + placed.op->inputs.size());
  outputs_.resize(first_output + placed.op->outputs.size());
  const auto inputs = std::span(inputs_).subspan(first_input);
  const auto outputs = std::span(outputs_).subspan(first_output);
  run_.inputs_of(*placed.op, placed.scratch, inputs);
  run_.outputs_of(*placed.op, placed.scratch, outputs);
  backends::KernelGroup::Call call{placed.index, {inputs, outputs, placed.workspace}, {}};
  if (counters_ != nullptr) {
    counter_lists_.resize(inputs_.size(), nullptr);
    const auto list = std::span(counter_lists_).subspan(first_input);
    choose_counters(placed, list);
    call.counters = list;
  }
  return call;
}

void WeightProgram::DeviceEvaluation::choose_counters(const Placed& placed,
                                                      std::span<uint64_t*> list) {
  const std::vector<WeightAddress>& inputs = placed.op->inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const WeightAddress& from = inputs[i];
    if (from.kind != WeightAddress::Parameter || !from.is_whole || !counts_[from.index] ||
        !program_.group_->counts(placed.index, i)) {
      continue;
    }
    counts_[from.index] = false;
    list[i] = reinterpret_cast<uint64_t*>(counters_->writable) + from.index;
  }
}

void WeightProgram::DeviceEvaluation::count_the_rest() {
  std::vector<TensorView> tensors;
  std::vector<uint64_t*> counters;
  for (size_t p = 0; p < counts_.size(); ++p) {
    if (!counts_[p]) continue;
    tensors.push_back(*run_.job.counted[p]);
    counters.push_back(reinterpret_cast<uint64_t*>(counters_->writable) + p);
  }
  program_.device_.count_non_finite(tensors, counters);
}

std::vector<uint64_t> WeightProgram::DeviceEvaluation::finish() {
  std::vector<uint64_t> counts;
  backends::Device& device = program_.device_;
  if (counters_ != nullptr) {
    count_the_rest();
    counts.resize(counts_.size());
    device.copy(counts.data(), counters_->data, counters_->bytes, device.work_stream());
  }
  device.synchronise(device.work_stream());
  is_finished_ = true;
  return counts;
}

}  // namespace regraft::engine
