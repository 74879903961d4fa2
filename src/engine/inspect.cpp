#include <algorithm>

#include "base/fail.h"
#include "engine/immutable.h"
#include "engine/variant.h"
#include "regraft/engine.h"

namespace regraft {
namespace {

TensorSpec spec_of(const std::string& name, const TensorType& type) {
  TensorSpec spec{name, type.dtype, {}};
  for (const SymInt& size : type.dims)
    spec.dims.push_back(size.str());
  return spec;
}

std::vector<TensorSpec> specs_of(const plan::Plan& plan, const std::vector<plan::Port>& ports) {
  std::vector<TensorSpec> specs;
  for (const plan::Port& port : ports) {
    specs.push_back(spec_of(port.name, plan.buffers[port.buffer].type));
  }
  return specs;
}

std::vector<ConstantInfo> constants_of(const engine::Core& core, const engine::Bank* bank) {
  std::vector<ConstantInfo> infos;
  for (size_t s = 0; s < core.slots().slots.size(); ++s) {
    const engine::Slot& slot = core.slots().slots[s];
    for (const int32_t c : slot.constants) {
      const plan::Constant& constant = core.plan().constants[c];
      infos.push_back({spec_of(constant.name, core.plan().buffers[constant.buffer].type),
                       slot.packing.id, slot.packing.bytes,
                       bank != nullptr ? bank->slots[s]->data : nullptr});
    }
  }
  return infos;
}

// "reference.mul (conv1), reference.sub"
std::string step_names(const plan::Plan& plan, const std::vector<int32_t>& steps) {
  std::vector<std::string> names;
  for (const int32_t s : steps) {
    const plan::Step& step = plan.weight_steps[s];
    names.push_back(step.origin.empty() ? step.kernel
                                        : base::cat(step.kernel, " (", step.origin, ")"));
  }
  return base::join(names, ", ");
}

std::string slot_name(const plan::Plan& plan, const engine::Slot& slot) {
  std::vector<std::string> names;
  for (const int32_t c : slot.constants)
    names.push_back("$" + plan.constants[c].name);
  return base::join(names, " = ");
}

}  // namespace

std::string TensorSpec::text() const {
  return base::cat(regraft::name(dtype), "[", base::join(dims, ","), "]");
}

const std::string& Engine::name() const { return variant_->core().image().name; }
std::string Engine::backend() const { return variant_->core().plan().backend; }
std::string Engine::device() const { return std::string(variant_->core().device().name()); }
bool Engine::is_immutable() const { return variant_->core().image().immutable; }
bool Engine::from_cache() const { return variant_->core().image().from_cache; }

Signature Engine::signature() const {
  const plan::Plan& plan = variant_->core().plan();
  Signature signature{specs_of(plan, plan.inputs), specs_of(plan, plan.outputs), {}};
  for (const plan::Symbol& symbol : plan.symbols) {
    signature.symbols.push_back({symbol.name, symbol.min, symbol.max, symbol.optimum});
  }
  return signature;
}

std::vector<ParameterInfo> Engine::parameters() const {
  const plan::Plan& plan = variant_->core().plan();
  std::vector<ParameterInfo> infos;
  for (const plan::Parameter& parameter : plan.parameters) {
    infos.push_back(
        {spec_of(parameter.name, plan.buffers[parameter.buffer].type), parameter.aliases, false});
  }
  variant_->publisher().look([&](const engine::Bank* bank, const engine::Bank*) {
    for (size_t p = 0; bank != nullptr && p < infos.size(); ++p) {
      infos[p].retained = bank->parameters[p].data != nullptr;
    }
  });
  return infos;
}

std::vector<ConstantInfo> Engine::constants() const {
  std::vector<ConstantInfo> infos;
  variant_->publisher().look([&](const engine::Bank* bank, const engine::Bank*) {
    infos = constants_of(variant_->core(), bank);
  });
  return infos;
}

std::vector<ConstantInfo> Engine::constants(const Weights& weights) const {
  return constants_of(variant_->core(), weights.pin() == nullptr
                                            ? nullptr
                                            : &engine::bank_of(weights, variant_->core()));
}

SourceTensor Engine::parameter(std::string_view name) const {
  const int32_t p = variant_->core().find_parameter(name);
  if (p < 0) base::fail("engine", ErrorCode::NotFound, "no parameter '", name, "'");
  // The pin also keeps an in-place refit from changing the bytes.
  auto pin = std::make_shared<engine::Pin>(variant_);
  const auto index = static_cast<size_t>(p);
  const engine::ParameterValue& value = pin->reader.bank()->parameters[index];
  if (value.data == nullptr) {
    base::fail("engine", ErrorCode::State, "parameter '", name, "' was not retained");
  }
  const engine::Core& core = variant_->core();
  if (value.on_host) return {core.view_of(index, value), std::move(pin), false};
  std::shared_ptr<const void> owner;
  const TensorView view = engine::on_host(core, index, value, owner);
  return {view, std::move(owner), false};
}

std::optional<std::string> Engine::metadata(std::string_view key) const {
  const auto& all = variant_->core().image().metadata;
  const auto found = all.find(std::string(key));
  return found == all.end() ? std::nullopt : std::optional(found->second);
}

MemoryReport Engine::memory() const { return variant_->memory(); }

std::string Engine::refit_map() const {
  const engine::Core& core = variant_->core();
  const plan::Plan& plan = core.plan();
  std::vector<std::vector<size_t>> slots_of(plan.parameters.size());
  std::string backward;
  for (size_t s = 0; s < core.slots().slots.size(); ++s) {
    const engine::Slot& slot = core.slots().slots[s];
    const int32_t constant = slot.constants.front();
    backward += base::cat(slot_name(plan, slot), ": ",
                          plan.buffers[plan.constants[constant].buffer].type.str(), " (",
                          slot.packing.id, ")\n");
    for (const int32_t p : core.weight_program().parameters_of(s)) {
      slots_of[p].push_back(s);
      backward += base::cat("  <- @", plan.parameters[p].name, "\n");
    }
  }
  std::string forward;
  for (size_t p = 0; p < plan.parameters.size(); ++p) {
    const plan::Parameter& parameter = plan.parameters[p];
    forward += base::cat("@", parameter.name, ": ", plan.buffers[parameter.buffer].type.str());
    for (const std::string& alias : parameter.aliases)
      forward += " = @" + alias;
    forward += slots_of[p].empty() ? " feeds nothing\n" : "\n";
    for (const size_t s : slots_of[p]) {
      const std::string through = step_names(plan, core.weight_program().steps_to(s));
      forward += base::cat("  -> ", slot_name(plan, core.slots().slots[s]),
                           through.empty() ? "" : " through " + through, "\n");
    }
  }
  return forward + backward;
}

std::string Engine::steps() const {
  const engine::Core& core = variant_->core();
  std::string text = to_string(core.plan());
  for (const auto& tactic : core.realised().tactics) {
    text += base::cat("tactic ", tactic.program, " ", tactic.step, ": ", tactic.tactic, "\n");
  }
  return text;
}

std::string Engine::realised_plan() const { return to_text(variant_->core().realised()); }
std::string Engine::realised_digest() const { return digest(variant_->core().realised()); }

}  // namespace regraft
