#include "engine/binding.h"

#include <algorithm>
#include <atomic>

#include "base/fail.h"
#include "base/parallel.h"
#include "engine/binding_planner.h"

namespace regraft::engine {
namespace {

// A kernel call with pointers from a table of bases. No allocation for up to kInline operands.
void run_step(const PreparedStep& step, std::byte* const* bases, std::byte* workspace,
              backends::Stream stream) {
  constexpr size_t kInline = 24;
  const void* few_inputs[kInline];
  void* few_outputs[kInline];
  std::vector<const void*> many_inputs;
  std::vector<void*> many_outputs;
  const void** inputs = few_inputs;
  void** outputs = few_outputs;
  if (step.inputs.size() > kInline) {
    many_inputs.resize(step.inputs.size());
    inputs = many_inputs.data();
  }
  if (step.outputs.size() > kInline) {
    many_outputs.resize(step.outputs.size());
    outputs = many_outputs.data();
  }
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    const Address& from = step.inputs[i];
    inputs[i] = from.base == kAbsent ? nullptr : bases[from.base] + from.offset;
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    outputs[i] = bases[step.outputs[i].base] + step.outputs[i].offset;
  }
  step.kernel->run(
      {{inputs, step.inputs.size()}, {outputs, step.outputs.size()}, workspace, stream});
}

uint64_t next_id() {
  static std::atomic<uint64_t> counter{0};
  return ++counter;
}

}  // namespace

Binding::Binding(const plan::Plan& plan, const SlotTable& slots, const SymbolValues& values,
                 backends::Device& device)
    : device_(device), id_(next_id()) {
  const Shaped shaped = shape_all(plan, values, device);
  const BindingPlanner planner(plan, slots, shaped);
  shape_steps_ = planner.prepare_steps(ProgramKind::Shape, shape_workspace_);
  compute_steps_ = planner.prepare_steps(ProgramKind::Compute, workspace_bytes_);
  copies_ = planner.output_copies();
  arena_bytes_ = planner.arena_bytes();
  shape_bytes_ = planner.shape_bytes();
  base_count_ = planner.base_count();
  for (const plan::Port& port : plan.inputs)
    input_dims_.push_back(shaped.buffers[port.buffer].dims);
  for (const plan::Port& port : plan.outputs) {
    output_dims_.push_back(shaped.buffers[port.buffer].dims);
  }
}

std::shared_ptr<const Block> Binding::compute_shapes(std::span<std::byte* const> slots,
                                                     BlockPool& pool) const {
  const base::FlushDenormals flush;
  std::shared_ptr<Block> values = pool.take(shape_bytes_);
  std::shared_ptr<Block> workspace;
  if (shape_workspace_ > 0) workspace = pool.take(shape_workspace_);
  std::vector<std::byte*> bases(base_count_, nullptr);
  bases[kShape] = values->writable;
  std::copy(slots.begin(), slots.end(), bases.end() - static_cast<std::ptrdiff_t>(slots.size()));
  for (const PreparedStep& step : shape_steps_) {
    run_step(step, bases.data(), workspace ? workspace->writable : nullptr, device_.work_stream());
  }
  device_.synchronise(device_.work_stream());
  return values;
}

void Binding::run(std::byte* const* bases, std::byte* workspace, backends::Stream stream,
                  backends::Laps* laps) const {
  const base::FlushDenormals flush;
  if (laps != nullptr) laps->mark(0, stream);
  for (size_t s = 0; s < compute_steps_.size(); ++s) {
    run_step(compute_steps_[s], bases, workspace, stream);
    if (laps != nullptr) laps->mark(s + 1, stream);
  }
  for (const OutputCopy& output : copies_) {
    const std::byte* from = bases[output.from.base] + output.from.offset;
    std::byte* to = bases[output.to.base] + output.to.offset;
    if (output.view.dims.empty()) {
      device_.copy(to, from, output.bytes, stream);
    } else {
      device_.convert(TensorView(from, output.view.dtype, output.view.dims, output.view.strides),
                      MutableTensorView(to, output.view.dtype, output.view.dims), stream);
    }
  }
}

std::shared_ptr<BindingCache::Entry> BindingCache::use(const SymbolValues& values) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const auto& entry) { return entry->values == values; });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return entries_.front();
}

std::shared_ptr<const Binding> BindingCache::get(const SymbolValues& values) {
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    entry = use(values);
    if (!entry) {
      entry = std::make_shared<Entry>();
      entry->values = values;
      entries_.push_front(entry);
      if (entries_.size() > capacity_) entries_.pop_back();
    }
  }
  const std::lock_guard preparing(entry->preparing);
  if (!entry->binding) entry->binding = std::make_shared<Binding>(plan_, slots_, values, device_);
  return entry->binding;
}

std::shared_ptr<const Binding> BindingCache::find(const SymbolValues& values) {
  std::shared_ptr<Entry> entry;
  {
    const std::lock_guard lock(mutex_);
    entry = use(values);
  }
  if (!entry) return nullptr;
  const std::lock_guard preparing(entry->preparing);
  return entry->binding;
}

size_t BindingCache::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace regraft::engine
