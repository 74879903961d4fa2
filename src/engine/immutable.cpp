#include "engine/immutable.h"

#include "base/fail.h"

namespace regraft::engine {

plan::Plan without_weight_program(const plan::Plan& plan) {
  plan::Plan out = plan;
  out.parameters.clear();
  out.constants.clear();
  out.weight_steps.clear();
  out.storages.clear();
  out.buffers.clear();
  const auto survives = [](plan::StorageKind kind) {
    return kind != plan::StorageKind::Parameter && kind != plan::StorageKind::Weight;
  };
  std::vector<int32_t> storage_of(plan.storages.size(), -1), buffer_of(plan.buffers.size(), -1);
  for (size_t i = 0; i < plan.storages.size(); ++i) {
    if (!survives(plan.storages[i].kind)) continue;
    storage_of[i] = static_cast<int32_t>(out.storages.size());
    out.storages.push_back(plan.storages[i]);
  }
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    if (storage_of[plan.buffers[i].storage] < 0) continue;
    buffer_of[i] = static_cast<int32_t>(out.buffers.size());
    out.buffers.push_back(plan.buffers[i]);
    out.buffers.back().storage = storage_of[plan.buffers[i].storage];
  }
  const auto renumber = [&](std::vector<int32_t>& buffers) {
    for (int32_t& buffer : buffers)
      buffer = buffer < 0 ? -1 : buffer_of[buffer];
  };
  for (auto* steps : {&out.shape_steps, &out.compute_steps}) {
    for (plan::Step& step : *steps) {
      renumber(step.inputs);
      renumber(step.outputs);
    }
  }
  for (plan::Port& port : out.inputs)
    port.buffer = buffer_of[port.buffer];
  for (plan::Port& port : out.outputs)
    port.buffer = buffer_of[port.buffer];
  for (size_t c = 0; c < plan.constants.size(); ++c) {
    const plan::Constant& constant = plan.constants[c];
    plan::Buffer value = plan.buffers[constant.buffer];
    plan::Storage storage = plan.storages[value.storage];
    storage.kind = plan::StorageKind::Parameter;
    value.storage = static_cast<int32_t>(out.storages.size());
    out.storages.push_back(storage);
    const auto source = static_cast<int32_t>(out.buffers.size());
    out.buffers.push_back(std::move(value));
    out.parameters.push_back({constant.name, {}, source, -1});
    out.constants.push_back({constant.name, source, buffer_of[constant.buffer]});
  }
  return out;
}

void want_retained(const Core& core, const Bank& bank, std::string_view purpose) {
  std::vector<std::string> missing;
  for (size_t p = 0; p < bank.parameters.size(); ++p) {
    if (bank.parameters[p].data == nullptr) missing.push_back(core.plan().parameters[p].name);
  }
  if (missing.empty()) return;
  base::fail("engine", ErrorCode::State, "cannot ", purpose, ": ", missing.size(),
             " parameters were not retained: ", base::join(missing, ", "));
}

TensorView on_host(const Core& core, size_t parameter, const ParameterValue& value,
                   std::shared_ptr<const void>& owner) {
  TensorView view = core.view_of(parameter, value);
  if (value.on_host || value.data == nullptr) return view;
  backends::Device& device = core.device();
  const backends::UseDevice use(device);
  const auto memory = allocate(value.bytes, core.options().memory_limit);
  device.copy(memory.get(), value.data, value.bytes, device.work_stream());
  device.synchronise(device.work_stream());
  view.data = memory.get();
  owner = memory;
  return view;
}

namespace {

std::shared_ptr<const Block> on_host(const Core& core, const std::shared_ptr<const Block>& block) {
  backends::Device& device = core.device();
  if (device.is_host()) return block;
  const auto memory = allocate(block->bytes, core.options().memory_limit);
  device.copy(memory.get(), block->data, block->bytes, device.work_stream());
  device.synchronise(device.work_stream());
  return BlockPool::borrow(memory.get(), block->bytes, memory);
}

}  // namespace

std::vector<std::shared_ptr<const Block>> logical_constants(const Core& core, const Bank& bank) {
  want_retained(core, bank, "compute the constants");
  const plan::Plan& plan = core.plan();
  backends::Device& device = core.device();
  const backends::UseDevice use(device);
  const SlotTable table = plain_slots(plan, shape_statics(plan, device));
  const WeightProgram program(plan, table.slots, device);
  WeightJob job;
  job.slots.assign(table.slots.size(), true);
  job.present.resize(table.slots.size());
  std::vector<std::shared_ptr<Block>> uploaded;
  for (const ParameterValue& value : bank.parameters) {
    job.parameters.push_back(value.data);
    if (device.is_host() || !value.on_host) continue;
    uploaded.push_back(core.pool()->take(value.bytes));
    device.copy(uploaded.back()->writable, value.data, value.bytes, device.work_stream());
    job.parameters.back() = uploaded.back()->data;
  }
  std::vector<std::shared_ptr<const Block>> values(plan.constants.size());
  for (const Slot& slot : table.slots) {
    const auto block = core.pool()->take(slot.packing.bytes);
    job.targets.push_back(block->writable);
    for (const int32_t constant : slot.constants)
      values[constant] = block;
  }
  program.evaluate(job, *core.pool());
  for (std::shared_ptr<const Block>& value : values)
    value = on_host(core, value);
  return values;
}

}  // namespace regraft::engine
