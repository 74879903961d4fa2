#include "engine/binding_planner.h"

#include <algorithm>

#include "base/fail.h"
#include "engine/arena.h"

namespace regraft::engine {
namespace {

bool same_layout(const plan::Placed& a, const plan::Placed& b) {
  return a.dims == b.dims && a.strides == b.strides && a.offset_bytes == b.offset_bytes &&
         item_size(a.dtype) == item_size(b.dtype);
}

}  // namespace

BindingPlanner::BindingPlanner(const plan::Plan& plan, const SlotTable& slots, const Shaped& shaped)
    : plan_(plan), slots_(slots), shaped_(shaped) {
  first_.assign(plan.storages.size(), INT32_MAX);
  last_.assign(plan.storages.size(), -1);
  same_as_.assign(plan.storages.size(), -1);
  offsets_.assign(plan.storages.size(), 0);
  const auto use = [&](int32_t buffer, int32_t step) {
    if (buffer < 0) return;
    const int32_t storage = plan.buffers[buffer].storage;
    first_[storage] = std::min(first_[storage], step);
    last_[storage] = std::max(last_[storage], step);
  };
  const auto steps = static_cast<int32_t>(plan.compute_steps.size());
  for (int32_t s = 0; s < steps; ++s) {
    for (const int32_t input : plan.compute_steps[s].inputs)
      use(input, s);
    for (const int32_t output : plan.compute_steps[s].outputs)
      use(output, s);
  }
  // An output that is copied is read after the last step.
  for (const plan::Port& port : plan.outputs)
    use(port.buffer, steps);
  share_memory_in_place();
  place_compute();
  place_shapes();
}

int32_t BindingPlanner::merged(int32_t storage) const {
  while (same_as_[storage] >= 0)
    storage = same_as_[storage];
  return storage;
}

// The output of an elementwise step takes over the memory of its first input where that dies there
// and both lie the same way.
void BindingPlanner::share_memory_in_place() {
  for (size_t s = 0; s < plan_.compute_steps.size(); ++s) {
    const plan::Step& step = plan_.compute_steps[s];
    if (!step.in_place || step.inputs.empty() || step.inputs[0] < 0) continue;
    const int32_t from = plan_.buffers[step.inputs[0]].storage;
    const int32_t to = plan_.buffers[step.outputs[0]].storage;
    if (from == to) continue;
    if (plan_.storages[from].kind != plan::StorageKind::Compute ||
        plan_.storages[to].kind != plan::StorageKind::Compute) {
      continue;
    }
    const auto now = static_cast<int32_t>(s);
    const bool also_elsewhere =
        std::any_of(step.inputs.begin() + 1, step.inputs.end(), [&](int32_t input) {
          return input >= 0 && merged(plan_.buffers[input].storage) == merged(from);
        });
    if (last_[from] != now || first_[to] != now || also_elsewhere ||
        shaped_.storage_bytes[to] > shaped_.storage_bytes[merged(from)] ||
        !same_layout(shaped_.buffers[step.inputs[0]], shaped_.buffers[step.outputs[0]])) {
      continue;
    }
    const int32_t home = merged(from);
    if (last_[home] > now) continue;  // Taken over by another output of this step's input.
    same_as_[to] = home;
    last_[home] = std::max(last_[home], last_[to]);
  }
}

void BindingPlanner::place_compute() {
  std::vector<Lifetime> lifetimes;
  std::vector<int32_t> owners;
  for (size_t i = 0; i < plan_.storages.size(); ++i) {
    if (plan_.storages[i].kind != plan::StorageKind::Compute || same_as_[i] >= 0) continue;
    if (last_[i] < 0) continue;
    lifetimes.push_back({static_cast<size_t>(shaped_.storage_bytes[i]), first_[i], last_[i]});
    owners.push_back(static_cast<int32_t>(i));
  }
  const Arena arena = plan_arena(lifetimes);
  for (size_t i = 0; i < owners.size(); ++i)
    offsets_[owners[i]] = arena.offsets[i];
  for (size_t i = 0; i < plan_.storages.size(); ++i) {
    if (same_as_[i] >= 0) offsets_[i] = offsets_[merged(static_cast<int32_t>(i))];
  }
  arena_bytes_ = arena.bytes;
}

void BindingPlanner::place_shapes() {
  std::vector<Lifetime> lifetimes;
  std::vector<int32_t> owners;
  for (size_t i = 0; i < plan_.storages.size(); ++i) {
    if (plan_.storages[i].kind != plan::StorageKind::Shape) continue;
    // All live at once: they outlast the run that computes them.
    lifetimes.push_back({std::max<size_t>(static_cast<size_t>(shaped_.storage_bytes[i]), 1), 0, 0});
    owners.push_back(static_cast<int32_t>(i));
  }
  const Arena arena = plan_arena(lifetimes);
  for (size_t i = 0; i < owners.size(); ++i)
    offsets_[owners[i]] = arena.offsets[i];
  shape_bytes_ = arena.bytes;
}

Address BindingPlanner::address(int32_t buffer, int32_t slot) const {
  if (buffer < 0) return {};
  const int32_t index = plan_.buffers[buffer].storage;
  const plan::Storage& storage = plan_.storages[index];
  const int64_t offset = shaped_.buffers[buffer].offset_bytes;
  const auto inputs = static_cast<int32_t>(plan_.inputs.size());
  const auto outputs = static_cast<int32_t>(plan_.outputs.size());
  switch (storage.kind) {
    case plan::StorageKind::Input:
      return {kFirst + storage.index, offset};
    case plan::StorageKind::Output:
      return {kFirst + inputs + storage.index, offset};
    case plan::StorageKind::Constant:
      return {kFirst + inputs + outputs + slot, offset};
    case plan::StorageKind::Shape:
      return {kShape, static_cast<int64_t>(offsets_[index]) + offset};
    case plan::StorageKind::Compute:
      return {kArena, static_cast<int64_t>(offsets_[index]) + offset};
    default:
      base::fail("engine", ErrorCode::Internal, "a run does not see this storage");
  }
}

std::vector<PreparedStep> BindingPlanner::prepare_steps(ProgramKind program,
                                                        size_t& workspace) const {
  const bool shape = program == ProgramKind::Shape;
  const auto& steps = shape ? plan_.shape_steps : plan_.compute_steps;
  const auto& chosen = shape ? slots_.shape_inputs : slots_.compute_inputs;
  std::vector<PreparedStep> prepared(steps.size());
  for (size_t s = 0; s < steps.size(); ++s) {
    backends::KernelRequest request = request_of(plan_, steps[s], shaped_);
    request.may_wait = shape;
    if (!shape && s < slots_.tactics.size() && shaped_.values == slots_.optimum) {
      request.tactic = slots_.tactics[s];
    }
    for (size_t i = 0; i < steps[s].inputs.size(); ++i) {
      const int32_t slot = chosen[s][i];
      if (slot >= 0 && !slots_.slots[slot].packing.is_plain()) {
        request.inputs[i].packing = slots_.slots[slot].packing;
      }
      prepared[s].inputs.push_back(address(steps[s].inputs[i], slot));
    }
    for (const int32_t output : steps[s].outputs)
      prepared[s].outputs.push_back(address(output, -1));
    prepared[s].kernel = prepare(request);
    workspace = std::max(workspace, prepared[s].kernel->workspace_bytes());
  }
  return prepared;
}

std::vector<OutputCopy> BindingPlanner::output_copies() const {
  std::vector<OutputCopy> copies;
  for (size_t i = 0; i < plan_.outputs.size(); ++i) {
    const int32_t buffer = plan_.outputs[i].buffer;
    const plan::Storage& storage = plan_.storage_of(buffer);
    if (storage.kind == plan::StorageKind::Output && storage.index == static_cast<int32_t>(i)) {
      continue;
    }
    const plan::Placed& placed = shaped_.buffers[buffer];
    OutputCopy output;
    output.from = address(buffer, slots_.outputs[i]);
    output.to = {kFirst + static_cast<int32_t>(plan_.inputs.size() + i), 0};
    const TensorView view(nullptr, placed.dtype, placed.dims, placed.strides);
    output.bytes = view.bytes();
    if (!view.is_contiguous()) output.view = view;
    copies.push_back(std::move(output));
  }
  return copies;
}

}  // namespace regraft::engine
