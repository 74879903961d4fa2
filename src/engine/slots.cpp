#include "engine/slots.h"

#include <map>
#include <tuple>

#include "base/fail.h"

namespace regraft::engine {
namespace {

class Builder {
 public:
  Builder(const plan::Plan& plan, const Shaped& shaped) : plan_(plan), shaped_(shaped) {}

  int32_t slot(int32_t constant, const backends::Packing& packing, std::string backend) {
    const plan::Constant& c = plan_.constants[constant];
    const plan::Placed& buffer = shaped_.buffers[c.buffer];
    const size_t plain_bytes = operand_of(buffer).packing.bytes;
    if (packing.is_plain()) {
      backend.clear();
      if (packing.bytes != plain_bytes) {
        base::fail("engine", ErrorCode::Corrupt, "constant ", c.name, ": plain packing of ",
                   packing.bytes, " bytes, want ", plain_bytes);
      }
    }
    const auto key = std::make_tuple(c.source, buffer.dtype, packing.id, backend);
    const auto [at, inserted] = known_.try_emplace(key, static_cast<int32_t>(table.slots.size()));
    if (inserted) {
      table.slots.push_back({c.source, buffer.dtype, buffer.dims, packing, backend, {}, -1});
      table.slots.back().copy_of = copied_parameter(table.slots.back());
    }
    Slot& slot = table.slots[at->second];
    if (slot.packing.bytes != packing.bytes) {
      base::fail("engine", ErrorCode::Corrupt, "constant ", c.name, ": packing ", packing.id,
                 " of ", packing.bytes, " and of ", slot.packing.bytes, " bytes");
    }
    std::vector<int32_t>& holds = slot.constants;
    if (std::find(holds.begin(), holds.end(), constant) == holds.end()) holds.push_back(constant);
    return at->second;
  }

  int32_t plain_slot(int32_t constant) {
    return slot(constant, operand_of(shaped_.buffers[plan_.constants[constant].buffer]).packing,
                "");
  }

  SlotTable table;

 private:
  // The parameter that the slot's bytes are those of, or -1.
  int32_t copied_parameter(const Slot& slot) const {
    const plan::Buffer& source = plan_.buffers[slot.source];
    const plan::Storage& storage = plan_.storages[source.storage];
    if (!slot.packing.is_plain() || storage.kind != plan::StorageKind::Parameter) return -1;
    const plan::Parameter& parameter = plan_.parameters[storage.index];
    const bool same = source.type == plan_.buffers[parameter.buffer].type &&
                      source.type.dtype == slot.dtype && plan::is_whole(source, storage);
    return same ? storage.index : -1;
  }

  const plan::Plan& plan_;
  const Shaped& shaped_;
  std::map<std::tuple<int32_t, DType, std::string, std::string>, int32_t> known_;
};

// The buffer is the constant itself, not a view of a part of it.
bool is_all_of(const plan::Plan& plan, int32_t buffer, int32_t constant) {
  if (buffer == plan.constants[constant].buffer) return true;
  const plan::Buffer& view = plan.buffers[buffer];
  return view.type == plan.buffers[plan.constants[constant].buffer].type &&
         plan::is_whole(view, plan.storages[view.storage]);
}

}  // namespace

SlotTable choose_slots(const plan::Plan& plan, const Shaped& optimum,
                       const PackingChooser& choose) {
  Builder builder(plan, optimum);
  const auto walk = [&](ProgramKind program, const std::vector<plan::Step>& steps) {
    std::vector<std::vector<int32_t>> table(steps.size());
    for (size_t s = 0; s < steps.size(); ++s) {
      const plan::Step& step = steps[s];
      table[s].assign(step.inputs.size(), -1);
      backends::KernelRequest request = request_of(plan, step, optimum);
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        if (!request.inputs[i].is_constant) continue;
        const int32_t constant = plan.storage_of(step.inputs[i]).index;
        if (!is_all_of(plan, step.inputs[i], constant)) {
          table[s][i] = builder.plain_slot(constant);
          continue;
        }
        // Later inputs of the step see what was chosen for the earlier ones.
        request.inputs[i].packing = choose(program, s, i, request);
        table[s][i] = builder.slot(constant, request.inputs[i].packing,
                                   step.kernel.substr(0, step.kernel.find('.')));
      }
    }
    return table;
  };
  builder.table.shape_inputs = walk(ProgramKind::Shape, plan.shape_steps);
  builder.table.compute_inputs = walk(ProgramKind::Compute, plan.compute_steps);
  for (const plan::Port& port : plan.outputs) {
    const plan::Storage& storage = plan.storage_of(port.buffer);
    builder.table.outputs.push_back(
        storage.kind == plan::StorageKind::Constant ? builder.plain_slot(storage.index) : -1);
  }
  return std::move(builder.table);
}

SlotTable plain_slots(const plan::Plan& plan, const Shaped& statics) {
  Builder builder(plan, statics);
  for (size_t c = 0; c < plan.constants.size(); ++c)
    builder.plain_slot(static_cast<int32_t>(c));
  return std::move(builder.table);
}

}  // namespace regraft::engine
