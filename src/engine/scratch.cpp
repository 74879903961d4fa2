#include "engine/scratch.h"

#include <algorithm>
#include <functional>

#include "base/fail.h"
#include "engine/core.h"
#include "engine/device_run.h"
#include "tensor/copy.h"

namespace regraft::engine {
namespace {

// Where the data of an empty tensor is.
alignas(kAlignment) std::byte g_nothing[kAlignment];

void check_dtypes(const plan::Plan& plan, std::span<const TensorView> inputs) {
  std::vector<std::string> problems;
  if (inputs.size() != plan.inputs.size()) {
    base::fail("engine", ErrorCode::Mismatch, "want ", plan.inputs.size(), " inputs, have ",
               inputs.size());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& type = plan.buffers[plan.inputs[i].buffer].type;
    const TensorView& have = inputs[i];
    if (have.dtype != type.dtype) {
      problems.push_back(base::cat("input '", plan.inputs[i].name, "': want ", type.str(),
                                   ", have ", have.spec()));
    } else if (have.strides.size() != have.dims.size() ||
               std::any_of(have.strides.begin(), have.strides.end(),
                           [](int64_t stride) { return stride < 0; })) {
      problems.push_back(base::cat("input '", plan.inputs[i].name,
                                   "': want one stride of at least 0 for each size"));
    } else if (have.data == nullptr && have.count() != 0) {
      problems.push_back(base::cat("input '", plan.inputs[i].name, "': has no data"));
    }
  }
  if (!problems.empty()) base::fail("engine", ErrorCode::Mismatch, base::join(problems, "; "));
}

bool fits(const Binding& binding, std::span<const TensorView> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dims != binding.input_dims()[i]) return false;
  }
  return true;
}

void check_outputs(const plan::Plan& plan, const Binding& binding,
                   std::span<const MutableTensorView> outputs) {
  if (outputs.size() != plan.outputs.size()) {
    base::fail("engine", ErrorCode::Mismatch, "want ", plan.outputs.size(), " outputs, have ",
               outputs.size());
  }
  std::vector<std::string> problems;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const DType dtype = plan.buffers[plan.outputs[i].buffer].type.dtype;
    const MutableTensorView& have = outputs[i];
    const Dims& dims = binding.output_dims()[i];
    if (have.dtype == dtype && have.dims == dims && have.strides.size() == dims.size() &&
        have.is_contiguous() && (have.data != nullptr || have.count() == 0)) {
      continue;
    }
    problems.push_back(base::cat("output '", plan.outputs[i].name, "': want row-major ",
                                 TensorView(nullptr, dtype, dims).spec(), ", have ", have.spec(),
                                 " strides ", to_string(have.strides)));
  }
  if (!problems.empty()) base::fail("engine", ErrorCode::Mismatch, base::join(problems, "; "));
}

}  // namespace

const Binding& Scratch::bind(Core& core, std::span<const TensorView> inputs, bool is_recorded) {
  check_dtypes(core.plan(), inputs);
  const auto known = std::find_if(recent_.begin(), recent_.end(),
                                  [&](const auto& candidate) { return fits(*candidate, inputs); });
  if (known != recent_.end()) {
    std::rotate(recent_.begin(), known, known + 1);
    return *recent_.front();
  }
  std::vector<Dims> dims;
  for (const TensorView& input : inputs)
    dims.push_back(input.dims);
  const SymbolValues values = plan::solve_symbols(core.plan(), dims);
  auto binding = is_recorded ? core.bindings().find(values) : core.bindings().get(values);
  if (!binding) {
    base::fail("engine", ErrorCode::State,
               "a run that is being recorded has inputs of other sizes than those before: run once "
               "with these before recording");
  }
  recent_.insert(recent_.begin(), std::move(binding));
  if (recent_.size() > std::max<size_t>(core.options().max_bindings, 1)) recent_.pop_back();
  return *recent_.front();
}

const std::byte* Scratch::row_major(size_t input, const TensorView& view, size_t limit) {
  if (view.count() == 0) return g_nothing;
  if (view.is_contiguous()) return view.as<std::byte>();
  Copy& copied = strided_[input];
  if (copied.bytes < view.bytes()) {
    copied.memory = allocate(view.bytes(), limit);
    strided_bytes_ += view.bytes() - copied.bytes;
    copied.bytes = view.bytes();
  }
  copy(view, MutableTensorView(copied.memory.get(), view.dtype, view.dims));
  return copied.memory.get();
}

void Scratch::reserve(Core& core, const Binding& binding) {
  const size_t limit = core.options().memory_limit;
  if (arena_bytes_ < binding.arena_bytes()) {
    arena_ = allocate(core.device(), binding.arena_bytes(), limit);
    arena_bytes_ = binding.arena_bytes();
  }
  if (workspace_bytes_ < binding.workspace_bytes()) {
    workspace_ = allocate(core.device(), binding.workspace_bytes(), limit);
    workspace_bytes_ = binding.workspace_bytes();
  }
}

// The constants, and what depends on them and on the shapes alone.
void Scratch::place_slots(Core& core, const Binding& binding, const Bank& bank, size_t first_slot,
                          std::shared_ptr<const Block>& shapes) {
  size_t next = first_slot;
  for (const auto& slot : bank.slots)
    bases_[next++] = const_cast<std::byte*>(slot->data);
  if (!binding.has_shape_values()) return;
  const auto compute = [&] {
    return binding.compute_shapes(
        {bases_.begin() + static_cast<std::ptrdiff_t>(first_slot), bases_.end()}, *core.pool());
  };
  // By reference: a std::function that holds the captures would allocate in every run.
  shapes = bank.shape_values(binding.id(), core.options().max_bindings, std::cref(compute));
  bases_[kShape] = const_cast<std::byte*>(shapes->data);
}

void Scratch::run(Core& core, const Bank& bank, std::span<const TensorView> inputs,
                  std::span<const MutableTensorView> outputs, backends::Stream stream,
                  const Runner* runner) {
  const Binding& binding = *recent_.front();
  const size_t limit = core.options().memory_limit;
  check_outputs(core.plan(), binding, outputs);
  bases_.assign(binding.base_count(), g_nothing);
  const size_t first_slot = kFirst + inputs.size() + outputs.size();
  std::shared_ptr<const Block> shapes;
  if (!core.device().is_host()) {
    const backends::UseDevice use(core.device());
    if (!device_run_) device_run_ = std::make_unique<DeviceRun>(core);
    device_run_->begin(stream);
    reserve(core, binding);
    if (arena_) bases_[kArena] = arena_.get();
    place_slots(core, binding, bank, first_slot, shapes);
    if (core.device().is_recording(stream)) recorded_shapes_ = shapes;
    device_run_->run(binding, bank, inputs, outputs, bases_, workspace_.get(), runner);
    return;
  }
  reserve(core, binding);
  strided_.resize(std::max(strided_.size(), inputs.size()));
  if (arena_) bases_[kArena] = arena_.get();
  size_t next = kFirst;
  // Inputs and constants are only read: plan::verify refuses steps that write them.
  for (size_t i = 0; i < inputs.size(); ++i) {
    bases_[next++] = const_cast<std::byte*>(row_major(i, inputs[i], limit));
  }
  for (const MutableTensorView& output : outputs) {
    bases_[next++] = output.data != nullptr ? output.as_mutable<std::byte>() : g_nothing;
  }
  place_slots(core, binding, bank, first_slot, shapes);
  if (runner != nullptr) return (*runner)(binding, bases_.data(), workspace_.get(), stream);
  binding.run(bases_.data(), workspace_.get());
}

bool Scratch::is_recorded() const { return device_run_ && device_run_->is_recorded(); }

std::vector<std::byte*> Scratch::constants(Core& core, const Binding& binding, const Bank& bank) {
  std::shared_ptr<const Block> shapes;
  const size_t slots = bank.slots.size();
  bases_.assign(binding.base_count(), g_nothing);
  place_slots(core, binding, bank, binding.base_count() - slots, shapes);
  std::vector<std::byte*> found{bases_[kShape]};
  found.insert(found.end(), bases_.end() - static_cast<std::ptrdiff_t>(slots), bases_.end());
  return found;
}

void Scratch::prepare(Core& core, const Bank& from, const Bank& to) {
  if (!device_run_) return;
  for (const auto& binding : recent_) {
    if (!device_run_->has_recorded(*binding)) continue;
    device_run_->prepare(*binding, constants(core, *binding, from), constants(core, *binding, to),
                         workspace_.get());
  }
}

Scratch::Scratch() = default;
Scratch::~Scratch() = default;

size_t Scratch::bytes() const {
  return arena_bytes_ + workspace_bytes_ + strided_bytes_ +
         (device_run_ ? device_run_->bytes() : 0);
}

}  // namespace regraft::engine
