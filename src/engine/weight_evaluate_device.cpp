#include <algorithm>

#include "base/fail.h"
#include "engine/weight_program_impl.h"

namespace regraft::engine {
namespace {

// Scratch of all units of a piece of work, which have it at once.
constexpr size_t kMostScratch = size_t{256} << 20;

}  // namespace

WeightProgram::DeviceEvaluation::DeviceEvaluation(const WeightProgram& program,
                                                  const WeightJob& job, BlockPool& pool)
    : program_(program),
      pool_(pool),
      tasks_(program.device_tasks_of(job)),
      run_(program.run_of(job, *tasks_, pool, kept_)) {
  counts_.resize(program.parameter_count_, false);
  copies_.resize(program.parameter_count_, false);
  for (size_t p = 0; p < job.values.size(); ++p) {
    if (job.values[p] == nullptr || job.values[p]->count() == 0) continue;
    counts_[p] = job.counts;
    has_counts_ = has_counts_ || job.counts;
    copies_[p] = !job.copies.empty() && job.copies[p] != nullptr;
  }
  throws_away_ = !kept_.empty();
  size_t bytes = 0;
  for (const Task& task : *tasks_)
    bytes += scratch_of(task);
  // What is one piece may be a repetition.
  if (bytes > kMostScratch && tasks_->size() > 1) return;
  scratch_ = take_scratch(bytes);
  repeat_ = program_.find_repeat(key_of(scratch_));
  scratch_bytes_ = bytes;
}

WeightProgram::DeviceEvaluation::~DeviceEvaluation() {
  if (!is_running_) return;
  try {
    program_.device_.synchronise(program_.device_.work_stream());
  } catch (const Error&) {
    // Whoever left before finish() says what went wrong.
  }
}

std::unique_ptr<WeightProgram::Evaluation> WeightProgram::begin(const WeightJob& job,
                                                                BlockPool& pool) const {
  return std::make_unique<DeviceEvaluation>(*this, job, pool);
}

std::unique_ptr<WeightProgram::Evaluation> WeightProgram::prepare(const WeightJob& job,
                                                                  BlockPool& pool) const {
  if (device_.is_host()) return nullptr;
  auto evaluation = std::make_unique<DeviceEvaluation>(*this, job, pool);
  if (!evaluation->try_prepare()) return nullptr;
  return evaluation;
}

size_t WeightProgram::DeviceEvaluation::scratch_of(const Task& task) const {
  return task.unit == nullptr ? 0 : task.unit->scratch + task.unit->workspace;
}

bool WeightProgram::DeviceEvaluation::try_prepare() {
  if (repeat_ == nullptr || reads_what_it_writes()) return false;
  find_repeat();
  return repetition_ != nullptr;
}

// Makes the repetition, unless recording is to come or cannot be.
void WeightProgram::DeviceEvaluation::find_repeat() {
  std::unique_lock lock(repeat_->mutex);
  if (repeat_->whole == nullptr && repeat_->is_seen && !repeat_->is_refused) record();
  repeat_->is_seen = true;
  if (repeat_->whole == nullptr) return;
  repetition_ = std::make_unique<Repetition>(program_.device_, repeat_, std::move(lock));
}

void WeightProgram::DeviceEvaluation::launch() {
  if (repeat_ != nullptr && repetition_ == nullptr) find_repeat();
  if (repetition_ != nullptr) return repetition_->launch();
  is_running_ = true;
  backends::Device& device = program_.device_;
  if (has_counts_) {
    kept_.push_back(pool_.take(counts_.size() * sizeof(uint64_t)));
    counters_ = kept_.back()->writable;
    device.clear(counters_, kept_.back()->bytes, device.work_stream());
  }
  if (repeat_ != nullptr) {
    enqueue(stages_of(*tasks_, scratch_));
  } else {
    enqueue_pieces();
  }
  if (const auto blocks = copies_left(); !blocks.empty()) device.copy_blocks(blocks);
  std::vector<uint64_t*> counters;
  if (const auto left = counts_left(counters); !left.empty()) {
    device.count_non_finite(left, counters);
  }
}

std::vector<uint64_t> WeightProgram::DeviceEvaluation::finish() {
  if (repetition_ != nullptr) return repetition_->finish();
  backends::Device& device = program_.device_;
  std::vector<uint64_t> found(has_counts_ ? counts_.size() : 0);
  if (has_counts_) {
    device.copy(found.data(), counters_, found.size() * sizeof(uint64_t), device.work_stream());
  }
  device.synchronise(device.work_stream());
  is_running_ = false;
  return found;
}

std::shared_ptr<WeightProgram::Repeat> WeightProgram::DeviceEvaluation::repeat() const {
  return repetition_ == nullptr ? nullptr : repetition_->repeat();
}

void WeightProgram::DeviceEvaluation::enqueue_pieces() {
  const std::vector<Task>& tasks = *tasks_;
  size_t first = 0, bytes = 0;
  const auto flush = [&](size_t end) {
    const auto piece = std::span(tasks).subspan(first, end - first);
    enqueue(stages_of(piece, take_scratch(bytes)));
    first = end;
    bytes = 0;
  };
  for (size_t t = 0; t < tasks.size(); ++t) {
    const size_t wanted = scratch_of(tasks[t]);
    if (t > first && bytes + wanted > kMostScratch) flush(t);
    bytes += wanted;
  }
  flush(tasks.size());
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
    memory += scratch_of(task);
  }
  return stages;
}

bool WeightProgram::DeviceEvaluation::is_grouped(size_t op) const {
  return program_.group_ != nullptr && program_.group_->takes(op);
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
  inputs_.clear();
  outputs_.clear();
  counter_lists_.clear();
  copy_lists_.clear();
  inputs_.reserve(inputs);
  outputs_.reserve(outputs);
  counter_lists_.reserve(inputs);
  copy_lists_.reserve(inputs);
}

// Stages whose ops the group takes go to it together, as many as follow each other.
void WeightProgram::DeviceEvaluation::visit(const Stages& stages, const Visitor& visitor) {
  reserve_operands(stages);
  Calls grouped;
  const auto flush = [&] {
    if (!grouped.empty()) visitor.grouped(grouped);
    grouped.clear();
  };
  for (const std::vector<Placed>& stage : stages) {
    std::vector<backends::KernelGroup::Call> calls;
    calls.reserve(stage.size());
    for (const Placed& placed : stage) {
      if (is_grouped(placed.index)) {
        calls.push_back(call_of(placed));
        continue;
      }
      flush();  // It may read what the stages before write.
      visitor.alone(placed);
    }
    if (!calls.empty()) grouped.push_back(std::move(calls));
  }
  flush();
}

void WeightProgram::DeviceEvaluation::enqueue(const Stages& stages) {
  const backends::Stream stream = program_.device_.work_stream();
  visit(stages, {[&](const Calls& calls) { program_.group_->run(calls); },
                 [&](const Placed& placed) {
                   program_.run_op(*placed.op, run_, placed.scratch, placed.workspace, stream);
                 }});
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
    if (counts_[p]) counters[i] = reinterpret_cast<uint64_t*>(counters_) + p;
    if (copies_[p]) copies[i] = run_.job.copies[p];
    counts_[p] = copies_[p] = false;
  }
}

std::vector<base::BlockCopy> WeightProgram::DeviceEvaluation::copies_left() const {
  std::vector<base::BlockCopy> blocks;
  for (size_t p = 0; p < copies_.size(); ++p) {
    if (!copies_[p]) continue;
    const TensorView& value = *run_.job.values[p];
    blocks.push_back({run_.job.copies[p], value.as<std::byte>(), value.bytes()});
  }
  return blocks;
}

std::vector<TensorView> WeightProgram::DeviceEvaluation::counts_left(
    std::vector<uint64_t*>& counters) const {
  std::vector<TensorView> tensors;
  for (size_t p = 0; p < counts_.size(); ++p) {
    if (!counts_[p]) continue;
    tensors.push_back(*run_.job.values[p]);
    counters.push_back(reinterpret_cast<uint64_t*>(counters_) + p);
  }
  return tensors;
}

}  // namespace regraft::engine
