#include <algorithm>
#include <iterator>

#include "base/fail.h"
#include "base/log.h"
#include "engine/weight_program_impl.h"

namespace regraft::engine {

// Behind launch(), nothing may want memory.
WeightProgram::Repetition::Repetition(backends::Device& device, std::shared_ptr<Repeat> repeat,
                                      std::unique_lock<std::mutex> lock,
                                      std::shared_ptr<Block> scratch)
    : device_(device),
      scratch_(std::move(scratch)),
      repeat_(std::move(repeat)),
      lock_(std::move(lock)),
      found_(repeat_->counts == nullptr ? 0 : repeat_->parameters) {}

WeightProgram::Repetition::~Repetition() {
  if (!is_running_) return;
  try {
    device_.synchronise(device_.work_stream());
  } catch (const Error&) {
    // Whoever left before finish() says what went wrong.
  }
}

void WeightProgram::Repetition::launch() {
  std::fill_n(repeat_->counts.get(), found_.size() * sizeof(uint64_t), std::byte{0});
  is_running_ = true;
  repeat_->whole->launch(device_.work_stream());
}

std::vector<uint64_t> WeightProgram::Repetition::finish() {
  device_.synchronise(device_.work_stream());
  is_running_ = false;
  const auto* counts = reinterpret_cast<const uint64_t*>(repeat_->counts.get());
  std::copy_n(counts, found_.size(), found_.begin());
  lock_.unlock();
  return std::move(found_);
}

std::shared_ptr<WeightProgram::Repeat> WeightProgram::Repetition::repeat() const {
  return repeat_->throws_away ? nullptr : repeat_;
}

std::unique_ptr<WeightProgram::Evaluation> WeightProgram::again(std::shared_ptr<Repeat> repeat,
                                                                BlockPool& pool) const {
  std::shared_ptr<Block> scratch;
  if (repeat->scratch_bytes > 0) scratch = pool.take(scratch_class(repeat->scratch_bytes));
  if (scratch != nullptr && scratch->writable != repeat->scratch) return nullptr;
  std::unique_lock lock(repeat->mutex);
  return std::make_unique<Repetition>(device_, std::move(repeat), std::move(lock),
                                      std::move(scratch));
}

// Every address that decides what is enqueued: equal keys are the same work.
std::vector<const void*> WeightProgram::DeviceEvaluation::key_of(const std::byte* scratch) const {
  const WeightJob& job = run_.job;
  std::vector<const void*> key;
  key.reserve(1 + job.parameters.size() + 3 * run_.read.size() + 2 * copies_.size());
  key.push_back(scratch);
  key.insert(key.end(), job.parameters.begin(), job.parameters.end());
  key.insert(key.end(), run_.read.begin(), run_.read.end());
  key.insert(key.end(), run_.write.begin(), run_.write.end());
  key.insert(key.end(), job.targets.begin(), job.targets.end());
  for (size_t p = 0; p < copies_.size(); ++p)
    key.push_back(copies_[p] ? job.copies[p] : nullptr);
  const void* const counted = &program_;
  for (const bool counts : counts_)
    key.push_back(counts ? counted : nullptr);
  return key;
}

std::shared_ptr<WeightProgram::Repeat> WeightProgram::find_repeat(
    std::vector<const void*> key) const {
  constexpr size_t kMost = 8;
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

// Fills in what repeats; an evaluation that cannot be recorded goes on without.
void WeightProgram::DeviceEvaluation::record() {
  const std::vector<bool> counts = counts_, copies = copies_;
  repeat_->scratch_bytes = scratch_bytes_;
  repeat_->scratch = scratch_;
  repeat_->throws_away = throws_away_;
  try {
    repeat_->whole = record(*repeat_);
  } catch (const Error& error) {
    base::log(LogLevel::Debug, base::cat("[engine] a refit is not recorded: ", error.what()));
  }
  if (repeat_->whole != nullptr) return;
  repeat_->is_refused = true;
  repeat_->parts.clear();
  repeat_->counts = nullptr;
  counters_ = nullptr;
  counts_ = counts;
  copies_ = copies;
}

// Null: a kernel waits for the device, or there is no way to repeat one.
std::unique_ptr<backends::Recording> WeightProgram::DeviceEvaluation::record(Repeat& repeat) {
  backends::Device& device = program_.device_;
  // Kernels that find nothing write nothing: counting on the host costs no copy.
  if (has_counts_) {
    repeat.counts = device.allocate_pinned(counts_.size() * sizeof(uint64_t));
    repeat.parameters = counts_.size();
    counters_ = repeat.counts.get();
  }
  // A unit with an op that has a kernel of its own is many short launches, each of which leaves
  // most of the device idle: such units go beside those that the group takes whole.
  std::vector<Task> tasks = *tasks_;
  const auto middle = std::stable_partition(tasks.begin(), tasks.end(), [&](const Task& task) {
    return std::all_of(task.ops.begin(), task.ops.end(),
                       [&](int32_t op) { return is_grouped(static_cast<size_t>(op)); });
  });
  const std::span<const Task> whole(tasks.begin(), middle), mixed(middle, tasks.end());
  size_t scratch_of_whole = 0, bytes_beside = 0;
  for (const Task& task : whole)
    scratch_of_whole += scratch_of(task);
  for (const Task& task : mixed)
    bytes_beside += task.bytes;
  Launches together, beside;
  add_launches(stages_of(whole, scratch_), repeat, together);
  add_launches(stages_of(mixed, scratch_ + scratch_of_whole), repeat, beside);
  if (const auto blocks = copies_left(); !blocks.empty()) {
    for (const base::BlockCopy& block : blocks)
      bytes_beside += 2 * block.bytes;
    beside.add(device.repeat_copies(blocks), repeat);
  }
  std::vector<uint64_t*> counters;
  if (const auto left = counts_left(counters); !left.empty()) {
    for (const TensorView& tensor : left)
      bytes_beside += tensor.bytes();
    beside.add(device.repeat_counts(left, counters), repeat);
  }
  if (!together.can_repeat || !beside.can_repeat) return nullptr;
  // What goes beside goes first, before running programs, too: it must be short.
  constexpr size_t kMostBeside = size_t{32} << 20;
  if (bytes_beside > kMostBeside) {
    std::move(beside.all.begin(), beside.all.end(), std::back_inserter(together.all));
    beside.all.clear();
  }
  std::vector<backends::Device::Enqueue> branches;
  for (const Launches* launches : {&together, &beside}) {
    if (launches->all.empty()) continue;
    branches.emplace_back([launches](backends::Stream stream) {
      for (const backends::Device::Enqueue& launch : launches->all)
        launch(stream);
    });
  }
  if (branches.empty()) branches.emplace_back([](backends::Stream) {});
  return device.record_side_by_side(branches);
}

void WeightProgram::DeviceEvaluation::Launches::add(std::unique_ptr<backends::Recording> part,
                                                    Repeat& repeat) {
  if (part == nullptr) {
    can_repeat = false;
    return;
  }
  all.emplace_back([launches = part.get()](backends::Stream stream) { launches->launch(stream); });
  repeat.parts.push_back(std::move(part));
}

void WeightProgram::DeviceEvaluation::add_launches(const Stages& stages, Repeat& repeat,
                                                   Launches& launches) {
  visit(stages, {[&](const Calls& calls) { launches.add(program_.group_->record(calls), repeat); },
                 [&](const Placed& placed) {
                   launches.can_repeat = launches.can_repeat && !placed.op->kernel->waits();
                   launches.all.emplace_back([this, placed](backends::Stream stream) {
                     program_.run_op(*placed.op, run_, placed.scratch, placed.workspace, stream);
                   });
                 }});
}

// Whether a given value lies where a constant or a kept parameter is written.
bool WeightProgram::DeviceEvaluation::reads_what_it_writes() const {
  const WeightJob& job = run_.job;
  std::vector<std::pair<const std::byte*, const std::byte*>> written;
  for (size_t s = 0; s < job.targets.size(); ++s) {
    if (job.slots[s])
      written.emplace_back(job.targets[s], job.targets[s] + program_.slot_bytes_[s]);
  }
  for (size_t p = 0; p < copies_.size(); ++p) {
    if (copies_[p]) written.emplace_back(job.copies[p], job.copies[p] + job.values[p]->bytes());
  }
  std::sort(written.begin(), written.end());
  return std::any_of(job.values.begin(), job.values.end(), [&](const TensorView* value) {
    if (value == nullptr || value->count() == 0) return false;
    const auto* const first = value->as<std::byte>();
    const auto* const last = first + value->bytes();
    // Written pieces do not overlap: they end in the order in which they begin.
    const auto at =
        std::upper_bound(written.begin(), written.end(), first,
                         [](const auto* place, const auto& piece) { return place < piece.second; });
    return at != written.end() && at->first < last;
  });
}

}  // namespace regraft::engine
