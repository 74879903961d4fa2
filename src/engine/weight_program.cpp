#include "engine/weight_program.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "base/fail.h"
#include "base/parallel.h"
#include "engine/arena.h"
#include "engine/weight_program_impl.h"

namespace regraft::engine {
namespace {

// cuBLASLt refuses workspaces that begin elsewhere.
constexpr size_t kWorkspaceAlignment = 256;

size_t workspace_aligned(size_t bytes) {
  return (bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
}

size_t bytes_of(const std::vector<backends::Operand>& operands) {
  size_t bytes = 0;
  for (const backends::Operand& operand : operands) {
    if (operand.present) bytes += operand.packing.bytes;
  }
  return bytes;
}

const backends::RunBackend& packer_of(const plan::Plan& plan, const Slot& slot) {
  return backends::run_backend(slot.backend.empty() ? plan.backend : slot.backend);
}

// Whether the packing of `slot` is all that becomes of the step's value.
bool is_read_once(const plan::Plan& plan, const plan::Step& step, const Slot& slot) {
  if (step.outputs.size() != 1 || step.outputs[0] != slot.source) return false;
  const int32_t storage = plan.buffers[slot.source].storage;
  if (!plan::is_whole(plan.buffers[slot.source], plan.storages[storage])) return false;
  const auto reads = [&](const plan::Step& other) {
    return std::any_of(other.inputs.begin(), other.inputs.end(), [&](int32_t input) {
      return input >= 0 && plan.buffers[input].storage == storage;
    });
  };
  return std::none_of(plan.weight_steps.begin(), plan.weight_steps.end(), reads);
}

}  // namespace

WeightProgram::~WeightProgram() = default;

WeightProgram::WeightProgram(const plan::Plan& plan, const std::vector<Slot>& slots,
                             backends::Device& device)
    : device_(device), slot_count_(slots.size()), parameter_count_(plan.parameters.size()) {
  for (const Slot& slot : slots)
    slot_bytes_.push_back(slot.packing.bytes);
  add_ops(plan, slots);
  split_units(plan);
  for (Unit& unit : units_)
    place_temporaries(plan, unit);
  find_dependencies();
  if (device_.is_host()) return;
  find_stages();
  make_group(plan);
}

// Every step, and behind the last writer of a slot's source the packing of that slot, so that
// temporaries are packed while they are in the cache and die early.
void WeightProgram::add_ops(const plan::Plan& plan, const std::vector<Slot>& slots) {
  const Shaped shaped = shape_statics(plan, device_);
  const auto address = [&](int32_t buffer) -> WeightAddress {
    if (buffer < 0) return {};
    const plan::Storage& storage = plan.storage_of(buffer);
    const auto offset = static_cast<size_t>(shaped.buffers[buffer].offset_bytes);
    if (storage.kind == plan::StorageKind::Parameter) {
      return {WeightAddress::Parameter, storage.index, offset,
              plan::is_whole(plan.buffers[buffer], storage)};
    }
    const int32_t index = plan.buffers[buffer].storage;
    if (direct_slot_[index] >= 0) return {WeightAddress::Slot, direct_slot_[index], offset};
    return {WeightAddress::Temporary, index, offset};
  };

  // A temporary that already is the slot's bytes is computed in place there.
  direct_slot_.assign(plan.storages.size(), -1);
  std::vector<bool> packed(slots.size(), true);
  for (size_t s = 0; s < slots.size(); ++s) {
    const plan::Buffer& source = plan.buffers[slots[s].source];
    const plan::Storage& storage = plan.storages[source.storage];
    if (slots[s].packing.is_plain() && storage.kind == plan::StorageKind::Weight &&
        source.type.dtype == slots[s].dtype && plan::is_whole(source, storage) &&
        direct_slot_[source.storage] < 0) {
      direct_slot_[source.storage] = static_cast<int32_t>(s);
      packed[s] = false;
    }
  }
  std::map<int32_t, int32_t> last_writer;  // Storage -> step.
  for (size_t s = 0; s < plan.weight_steps.size(); ++s) {
    for (const int32_t output : plan.weight_steps[s].outputs) {
      last_writer[plan.buffers[output].storage] = static_cast<int32_t>(s);
    }
  }
  std::map<int32_t, std::vector<int32_t>> packed_after;  // Step, or -1: only parameters.
  for (size_t s = 0; s < slots.size(); ++s) {
    if (!packed[s]) continue;
    const auto writer = last_writer.find(plan.buffers[slots[s].source].storage);
    packed_after[writer == last_writer.end() ? -1 : writer->second].push_back(
        static_cast<int32_t>(s));
  }
  const auto add_packings = [&](int32_t step) {
    for (const int32_t s : packed_after[step]) {
      const Slot& slot = slots[s];
      backends::Operand from = operand_of(shaped.buffers[slot.source]);
      Op op;
      op.slot = s;
      op.kernel = packer_of(plan, slot).prepare_packing(device_, from, slot.dtype, slot.packing);
      op.inputs.push_back(address(slot.source));
      op.outputs.push_back({WeightAddress::Slot, s, 0});
      op.bytes = from.packing.bytes + slot.packing.bytes;
      ops_.push_back(std::move(op));
    }
  };
  add_packings(-1);
  for (size_t s = 0; s < plan.weight_steps.size(); ++s) {
    const plan::Step& step = plan.weight_steps[s];
    backends::KernelRequest request = request_of(plan, step, shaped);
    request.may_wait = true;
    Op op;
    op.step = static_cast<int32_t>(s);
    for (const int32_t input : step.inputs)
      op.inputs.push_back(address(input));
    // The value of a step that only one packing reads is not written in between.
    const std::vector<int32_t>& packings = packed_after[op.step];
    if (packings.size() == 1 && address(step.outputs[0]).kind == WeightAddress::Temporary &&
        is_read_once(plan, step, slots[packings[0]])) {
      const Slot& slot = slots[packings[0]];
      op.kernel = packer_of(plan, slot).prepare_packed_step(request, slot.dtype, slot.packing);
      if (op.kernel) {
        op.slot = packings[0];
        op.outputs.push_back({WeightAddress::Slot, op.slot, 0});
        op.bytes = bytes_of(request.inputs) + slot.packing.bytes;
        ops_.push_back(std::move(op));
        continue;
      }
    }
    op.kernel = engine::prepare(request);
    for (const int32_t output : step.outputs)
      op.outputs.push_back(address(output));
    op.bytes = bytes_of(request.inputs) + bytes_of(request.outputs);
    ops_.push_back(std::move(op));
    add_packings(op.step);
  }
}

// Union-find over the storages that ops write.
void WeightProgram::split_units(const plan::Plan& plan) {
  // Storages, then slots, are the elements that join ops.
  std::vector<int32_t> parent(plan.storages.size() + slot_count_);
  std::iota(parent.begin(), parent.end(), 0);
  const auto root = [&](int32_t x) {
    while (parent[x] != x)
      x = parent[x] = parent[parent[x]];
    return x;
  };
  const auto element = [&](const WeightAddress& address) -> int32_t {
    if (address.kind == WeightAddress::Temporary) return address.index;
    if (address.kind != WeightAddress::Slot) return -1;
    return static_cast<int32_t>(plan.storages.size()) + address.index;
  };
  for (const Op& op : ops_) {
    const int32_t home = element(op.outputs[0]);
    for (const auto* list : {&op.inputs, &op.outputs}) {
      for (const WeightAddress& address : *list) {
        if (const int32_t other = element(address); other >= 0) parent[root(other)] = root(home);
      }
    }
  }
  std::map<int32_t, size_t> unit_of;
  for (size_t i = 0; i < ops_.size(); ++i) {
    const int32_t key = root(element(ops_[i].outputs[0]));
    const auto [at, inserted] = unit_of.try_emplace(key, units_.size());
    if (inserted) units_.emplace_back();
    units_[at->second].ops.push_back(static_cast<int32_t>(i));
  }
}

void WeightProgram::place_temporaries(const plan::Plan& plan, Unit& unit) {
  std::map<int32_t, size_t> item_of;  // Storage -> lifetime.
  std::vector<Lifetime> lifetimes;
  for (size_t i = 0; i < unit.ops.size(); ++i) {
    const Op& op = ops_[unit.ops[i]];
    unit.workspace = std::max(unit.workspace, op.kernel->workspace_bytes());
    for (const auto* list : {&op.inputs, &op.outputs}) {
      for (const WeightAddress& address : *list) {
        if (address.kind != WeightAddress::Temporary) continue;
        const auto [at, inserted] = item_of.try_emplace(address.index, lifetimes.size());
        const auto now = static_cast<int32_t>(i);
        if (inserted) {
          const auto bytes = static_cast<size_t>(plan.storages[address.index].bytes.value());
          lifetimes.push_back({bytes, now, now});
        }
        lifetimes[at->second].last = now;
      }
    }
  }
  if (!device_.is_host()) {
    // Ops run in stages, not in their order: nothing may share memory.
    for (Lifetime& lifetime : lifetimes)
      lifetime = {lifetime.bytes, 0, static_cast<int32_t>(unit.ops.size())};
  }
  const Arena arena = plan_arena(lifetimes);
  // The workspace lies behind the temporaries, and another unit behind both.
  unit.scratch = workspace_aligned(arena.bytes);
  unit.workspace = workspace_aligned(unit.workspace);
  for (const int32_t i : unit.ops) {
    for (auto* list : {&ops_[i].inputs, &ops_[i].outputs}) {
      for (WeightAddress& address : *list) {
        if (address.kind == WeightAddress::Temporary) {
          address.offset += arena.offsets[item_of.at(address.index)];
        }
      }
    }
  }
}

void WeightProgram::find_dependencies() {
  depends_.resize(slot_count_);
  std::vector<bool> slots(slot_count_, false);
  for (const Unit& unit : units_) {
    std::set<int32_t> written;
    for (const int32_t i : unit.ops) {
      for (const WeightAddress& address : ops_[i].outputs) {
        if (address.kind == WeightAddress::Slot) written.insert(address.index);
      }
    }
    for (const int32_t s : written) {
      slots[s] = true;
      const auto needed = needed_ops(unit, slots, [](int32_t) { return false; });
      slots[s] = false;
      std::set<int32_t> parameters;
      for (size_t i = 0; i < unit.ops.size(); ++i) {
        if (!needed[i]) continue;
        for (const WeightAddress& address : ops_[unit.ops[i]].inputs) {
          if (address.kind == WeightAddress::Parameter) parameters.insert(address.index);
        }
      }
      depends_[s].assign(parameters.begin(), parameters.end());
    }
  }
}

// An op comes after those that wrote what it reads, and after those that read or wrote what it
// writes.
void WeightProgram::find_stages() {
  std::map<std::pair<int, int32_t>, int32_t> written, read;  // Kind and index -> next free stage.
  const auto key = [](const WeightAddress& address) {
    return std::pair<int, int32_t>(address.kind, address.index);
  };
  for (Op& op : ops_) {
    for (const WeightAddress& address : op.inputs)
      op.stage = std::max(op.stage, written[key(address)]);
    for (const WeightAddress& address : op.outputs)
      op.stage = std::max({op.stage, written[key(address)], read[key(address)]});
    for (const WeightAddress& address : op.inputs) {
      int32_t& next = read[key(address)];
      next = std::max(next, op.stage + 1);
    }
    for (const WeightAddress& address : op.outputs)
      written[key(address)] = op.stage + 1;
  }
}

void WeightProgram::make_group(const plan::Plan& plan) {
  std::vector<const backends::Kernel*> kernels;
  for (const Op& op : ops_)
    kernels.push_back(op.kernel.get());
  group_ = backends::run_backend(plan.backend).group(device_, kernels);
}

std::vector<bool> WeightProgram::closure(const std::vector<bool>& parameters) const {
  std::vector<bool> slots(slot_count_, false);
  for (size_t s = 0; s < slot_count_; ++s) {
    slots[s] = std::any_of(depends_[s].begin(), depends_[s].end(),
                           [&](int32_t parameter) { return parameters[parameter]; });
  }
  return slots;
}

std::shared_ptr<const WeightProgram::Change> WeightProgram::change_of(
    const std::vector<bool>& parameters) const {
  const std::lock_guard lock(last_mutex_);
  if (last_change_ == nullptr || last_change_->parameters != parameters) {
    Change change{parameters, closure(parameters), {}};
    change.reads = reads(change.slots, std::vector<bool>(slot_count_, true));
    last_change_ = std::make_shared<const Change>(std::move(change));
  }
  return last_change_;
}

// Backwards from the wanted slots. A slot that is present and not wanted is a source.
std::vector<bool> WeightProgram::needed_ops(
    const Unit& unit, const std::vector<bool>& slots,
    const std::function<bool(int32_t slot)>& present) const {
  std::set<int32_t> temporaries, wanted;
  std::vector<bool> needed(unit.ops.size(), false);
  for (size_t i = unit.ops.size(); i-- > 0;) {
    const Op& op = ops_[unit.ops[i]];
    for (const WeightAddress& address : op.outputs) {
      if (address.kind == WeightAddress::Temporary) {
        needed[i] = needed[i] || temporaries.contains(address.index);
      } else {
        needed[i] = needed[i] || slots[address.index] || wanted.contains(address.index);
      }
    }
    if (!needed[i]) continue;
    for (const WeightAddress& address : op.inputs) {
      if (address.kind == WeightAddress::Temporary) temporaries.insert(address.index);
      if (address.kind == WeightAddress::Slot && !slots[address.index] && !present(address.index)) {
        wanted.insert(address.index);
      }
    }
  }
  return needed;
}

std::vector<bool> WeightProgram::reads(const std::vector<bool>& slots,
                                       const std::vector<bool>& present) const {
  std::vector<bool> parameters(parameter_count_, false);
  for (const Unit& unit : units_) {
    const auto needed = needed_ops(unit, slots, [&](int32_t s) { return bool(present[s]); });
    for (size_t i = 0; i < unit.ops.size(); ++i) {
      if (!needed[i]) continue;
      for (const WeightAddress& address : ops_[unit.ops[i]].inputs) {
        if (address.kind == WeightAddress::Parameter) parameters[address.index] = true;
      }
    }
  }
  return parameters;
}

std::vector<int32_t> WeightProgram::steps_to(size_t slot) const {
  std::vector<bool> slots(slot_count_, false);
  slots[slot] = true;
  std::vector<int32_t> steps;
  for (const Unit& unit : units_) {
    const auto needed = needed_ops(unit, slots, [](int32_t) { return false; });
    for (size_t i = 0; i < unit.ops.size(); ++i) {
      if (needed[i] && ops_[unit.ops[i]].step >= 0) steps.push_back(ops_[unit.ops[i]].step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string WeightProgram::step_tactic(size_t step) const {
  for (const Op& op : ops_) {
    if (op.step == static_cast<int32_t>(step)) return op.kernel->tactic();
  }
  return "";
}

std::string WeightProgram::packing_tactic(size_t slot) const {
  for (const Op& op : ops_) {
    if (op.slot == static_cast<int32_t>(slot)) return op.kernel->tactic();
  }
  return "";
}

}  // namespace regraft::engine
