#include <algorithm>

#include "base/fail.h"
#include "engine/weight_program_impl.h"

namespace regraft::engine {

WeightProgram::DeviceEvaluation::DeviceEvaluation(const WeightProgram& program, const Run& run,
                                                  BlockPool& pool)
    : program_(program), run_(run), pool_(pool) {
  const WeightJob& job = run.job;
  counts_.resize(program.parameter_count_, false);
  copies_.resize(program.parameter_count_, false);
  for (size_t p = 0; p < job.values.size(); ++p) {
    if (job.values[p] == nullptr || job.values[p]->count() == 0) continue;
    counts_[p] = job.counts;
    copies_[p] = !job.copies.empty() && job.copies[p] != nullptr;
  }
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

// All units of a piece have their scratch at once; what fits in one may be a repetition.
void WeightProgram::DeviceEvaluation::enqueue(const std::vector<Task>& tasks) {
  constexpr size_t kMostScratch = size_t{256} << 20;
  size_t first = 0, bytes = 0;
  for (size_t t = 0; t < tasks.size(); ++t) {
    const Unit* unit = tasks[t].unit;
    const size_t wanted = unit == nullptr ? 0 : unit->scratch + unit->workspace;
    if (t > first && bytes + wanted > kMostScratch) {
      const auto piece = std::span(tasks).subspan(first, t - first);
      enqueue_stages(stages_of(piece, take_scratch(bytes)));
      first = t;
      bytes = 0;
    }
    bytes += wanted;
  }
  std::byte* const memory = take_scratch(bytes);
  if (first > 0) {
    enqueue_stages(stages_of(std::span(tasks).subspan(first), memory));
    return;
  }
  const auto repeat = program_.find_repeat(key_of(memory));
  const std::lock_guard lock(repeat->mutex);
  if (repeat->launches != nullptr) {
    repeat->launches->launch(program_.device_.work_stream());
    counts_ = repeat->counts;
    copies_ = repeat->copies;
    return;
  }
  const Stages stages = stages_of(tasks, memory);
  if (!repeat->is_seen || !try_repeat(stages, *repeat)) enqueue_stages(stages);
  repeat->is_seen = true;
}

std::byte* WeightProgram::DeviceEvaluation::take_scratch(size_t bytes) {
  if (bytes == 0) return nullptr;
  kept_.push_back(pool_.take(scratch_class(bytes)));
  return kept_.back()->writable;
}

WeightProgram::DeviceEvaluation::Stages WeightProgram::DeviceEvaluation::stages_of(
    std::span<const Task> tasks, std::byte* memory) const {
  Stages stages;
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
  return stages;
}

// Every address that decides what is enqueued: equal keys are the same work.
std::vector<const void*> WeightProgram::DeviceEvaluation::key_of(const std::byte* scratch) const {
  std::vector<const void*> key = {scratch, counters_ ? counters_->data : nullptr};
  key.insert(key.end(), run_.job.parameters.begin(), run_.job.parameters.end());
  key.insert(key.end(), run_.read.begin(), run_.read.end());
  key.insert(key.end(), run_.write.begin(), run_.write.end());
  key.insert(key.end(), run_.job.targets.begin(), run_.job.targets.end());
  for (size_t p = 0; p < copies_.size(); ++p)
    key.push_back(copies_[p] ? run_.job.copies[p] : nullptr);
  const void* const counted = &program_;
  for (const bool counts : counts_)
    key.push_back(counts ? counted : nullptr);
  return key;
}

std::shared_ptr<WeightProgram::Repeat> WeightProgram::find_repeat(
    std::vector<const void*> key) const {
  constexpr size_t kMost = 4;
  const std::lock_guard lock(last_mutex_);
  auto at = std::find_if(repeats_.begin(), repeats_.end(),
                         [&](const auto& repeat) { return repeat->key == key; });
  if (at == repeats_.end()) {
    if (repeats_.size() >= kMost) repeats_.pop_back();
    at = repeats_.insert(repeats_.begin(), std::make_shared<Repeat>());
    (*at)->key = std::move(key);
  }
  std::rotate(repeats_.begin(), at, at + 1);
  return repeats_.front();
}

bool WeightProgram::DeviceEvaluation::is_grouped(const Placed& placed) const {
  return program_.group_ != nullptr && program_.group_->takes(placed.index);
}

// Enqueues them as launches that are kept; false: the group does not take all of them.
bool WeightProgram::DeviceEvaluation::try_repeat(const Stages& stages, Repeat& repeat) {
  for (const std::vector<Placed>& stage : stages) {
    if (!std::all_of(stage.begin(), stage.end(), [&](const auto& op) { return is_grouped(op); })) {
      return false;
    }
  }
  if (program_.group_ == nullptr) return false;
  reserve_operands(stages);
  std::vector<std::vector<backends::KernelGroup::Call>> calls(stages.size());
  for (size_t s = 0; s < stages.size(); ++s) {
    for (const Placed& placed : stages[s])
      calls[s].push_back(call_of(placed));
  }
  repeat.launches = program_.group_->record(calls);
  if (repeat.launches == nullptr) {
    program_.group_->run(calls);
  } else {
    repeat.launches->launch(program_.device_.work_stream());
  }
  repeat.counts = counts_;
  repeat.copies = copies_;
  clear_operands();
  return true;
}

// Calls point into these: they must not grow.
void WeightProgram::DeviceEvaluation::reserve_operands(const Stages& stages) {
  size_t inputs = 0, outputs = 0;
  for (const std::vector<Placed>& stage : stages) {
    for (const Placed& placed : stage) {
      inputs += placed.op->inputs.size();
      outputs += placed.op->outputs.size();
    }
  }
  inputs_.reserve(inputs);
  outputs_.reserve(outputs);
  counter_lists_.reserve(inputs);
  copy_lists_.reserve(inputs);
}

void WeightProgram::DeviceEvaluation::clear_operands() {
  inputs_.clear();
  outputs_.clear();
  counter_lists_.clear();
  copy_lists_.clear();
}

// Stages whose ops the group takes go to it together, as many as follow each other.
void WeightProgram::DeviceEvaluation::enqueue_stages(const Stages& stages) {
  reserve_operands(stages);
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
  clear_operands();
}

backends::KernelGroup::Call WeightProgram::DeviceEvaluation::call_of(const Placed& placed) {
  const size_t first_input = inputs_.size(), first_output = outputs_.size();
  inputs_.resize(first_input + placed.op->inputs.size());
  outputs_.resize(first_output + placed.op->outputs.size());
  const auto inputs = std::span(inputs_).subspan(first_input);
  const auto outputs = std::span(outputs_).subspan(first_output);
  run_.inputs_of(*placed.op, placed.scratch, inputs);
  run_.outputs_of(*placed.op, placed.scratch, outputs);
  backends::KernelGroup::Call call{placed.index, {inputs, outputs, placed.workspace}, {}, {}};
  counter_lists_.resize(inputs_.size(), nullptr);
  copy_lists_.resize(inputs_.size(), nullptr);
  const auto counters = std::span(counter_lists_).subspan(first_input);
  const auto copies = std::span(copy_lists_).subspan(first_input);
  pass_on(placed, counters, copies);
  call.counters = counters;
  call.copies = copies;
  return call;
}

// What a kernel does with the elements of whole parameters on the way.
void WeightProgram::DeviceEvaluation::pass_on(const Placed& placed, std::span<uint64_t*> counters,
                                              std::span<std::byte*> copies) {
  const std::vector<WeightAddress>& inputs = placed.op->inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const WeightAddress& from = inputs[i];
    if (from.kind != WeightAddress::Parameter || !from.is_whole) continue;
    const auto p = static_cast<size_t>(from.index);
    if (!counts_[p] && !copies_[p]) continue;
    if (program_.group_->passes(placed.index, i) != run_.job.values[p]->count()) continue;
    if (counts_[p]) counters[i] = reinterpret_cast<uint64_t*>(counters_->writable) + p;
    if (copies_[p]) copies[i] = run_.job.copies[p];
    counts_[p] = copies_[p] = false;
  }
}

void WeightProgram::DeviceEvaluation::copy_the_rest() {
  std::vector<base::BlockCopy> blocks;
  for (size_t p = 0; p < copies_.size(); ++p) {
    if (!copies_[p]) continue;
    const TensorView& value = *run_.job.values[p];
    blocks.push_back({run_.job.copies[p], value.as<std::byte>(), value.bytes()});
  }
  if (!blocks.empty()) program_.device_.copy_blocks(blocks);
}

void WeightProgram::DeviceEvaluation::count_the_rest() {
  std::vector<TensorView> tensors;
  std::vector<uint64_t*> counters;
  for (size_t p = 0; p < counts_.size(); ++p) {
    if (!counts_[p]) continue;
    tensors.push_back(*run_.job.values[p]);
    counters.push_back(reinterpret_cast<uint64_t*>(counters_->writable) + p);
  }
  if (!tensors.empty()) program_.device_.count_non_finite(tensors, counters);
}

std::vector<uint64_t> WeightProgram::DeviceEvaluation::finish() {
  std::vector<uint64_t> counts;
  backends::Device& device = program_.device_;
  copy_the_rest();
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
