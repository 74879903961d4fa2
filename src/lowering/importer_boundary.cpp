#include <algorithm>
#include <set>

#include "base/fail.h"
#include "lowering/importer.h"

namespace regraft::lowering {

void Importer::add_inputs() {
  for (const program::InputSpec& spec : program_.exported.inputs) {
    switch (spec.kind) {
      case program::InputKind::Parameter:
      case program::InputKind::Buffer:
      case program::InputKind::TensorConstant:
        bind_parameter(spec);
        break;
      case program::InputKind::User:
        add_input(spec);
        break;
      case program::InputKind::ConstantInput:
        break;
      case program::InputKind::Size:
        bind_size(spec);
        break;
      case program::InputKind::CustomObject:
        base::fail("lowering", ErrorCode::Unsupported, "the program uses the script object '",
                   spec.target, "'");
      case program::InputKind::Token:
        base::fail("lowering", ErrorCode::Unsupported,
                   "the program orders side effects (an effect token '", spec.argument, "')");
    }
  }
}

void Importer::add_input(const program::InputSpec& spec) {
  if (!spec.is_tensor && surveys_) return;  // What reads it stays outside.
  if (!spec.is_tensor) {
    base::fail("lowering", ErrorCode::Unsupported, "input '", spec.argument,
               "' is a dynamic number: pass it as a 0-d tensor, or export it as a constant");
  }
  Ref ref;
  ref.memory = std::make_shared<Memory>();
  ref.memory->kind = Memory::Kind::Input;
  ref.memory->owner = spec.argument;
  ref.memory->value =
      graph_->add_input(spec.argument, stated_type(program_.exported.graph, spec.argument));
  ref.value = ref.memory->value;
  inputs_.push_back(ref.memory);
  bind(program_.exported.graph, spec.argument, std::move(ref));
}

// The sizes of other inputs determine it, so it is none of the engine's.
void Importer::bind_size(const program::InputSpec& spec) {
  const auto found = program_.exported.graph.sizes.find(spec.argument);
  if (found == program_.exported.graph.sizes.end() || !found->second) {
    base::fail("lowering", ErrorCode::Corrupt, "the size '", spec.argument, "' has no expression");
  }
  bind(program_.exported.graph, spec.argument, Symbolic(*found->second));
}

// Tied parameters are one memory, so a write through one name is seen through the other.
void Importer::bind_parameter(const program::InputSpec& spec) {
  const size_t index = program_.parameter_by_name.find(spec.target)->second;
  std::shared_ptr<Memory>& memory = parameters_[index];
  if (memory == nullptr) {
    const ProgramParameter& parameter = program_.parameters[index];
    memory = std::make_shared<Memory>();
    memory->kind = Memory::Kind::Parameter;
    memory->owner = parameter.name;
    memory->value = graph_->add_parameter(parameter.name, {parameter.dtype, to_sym(parameter.dims)},
                                          parameter.aliases);
    inputs_.push_back(memory);
  }
  Ref ref;
  ref.memory = memory;
  ref.value = memory->value;
  ref.version = memory->version;
  bind(program_.exported.graph, spec.argument, std::move(ref));
}

void Importer::add_outputs() {
  size_t i = 0;
  for (const program::OutputSpec& spec : program_.exported.outputs) {
    if (spec.kind != program::OutputKind::User) continue;
    const std::string& name = program_.output_names[i++];
    if (std::holds_alternative<program::SymName>(spec.value)) {
      base::fail("lowering", ErrorCode::Unsupported, "output '", name, "' is a dynamic number");
    }
    const auto* tensor = std::get_if<program::TensorName>(&spec.value);
    if (tensor == nullptr) continue;  // A constant of the pytree: None or a number.
    Binding binding = binding_of(spec.value);
    auto* ref = std::get_if<Ref>(&binding);
    if (ref == nullptr) {
      base::fail("lowering", ErrorCode::Unsupported, "output '", name,
                 "' is a result that has no lowering");
    }
    graph_->add_output(name, read(*graph_, *ref));
  }
}

// A program that changes what it was given answers differently at the next call. Where nothing it
// returns depends on the old value (a counter of batches), the change is dropped.
void Importer::check_writes() const {
  for (const program::OutputSpec& spec : program_.exported.outputs) {
    if (spec.kind == program::OutputKind::User) continue;
    if (spec.kind == program::OutputKind::Other) {
      base::fail("lowering", ErrorCode::Unsupported, "an output of kind '", spec.target, "'");
    }
    const bool is_input = spec.kind == program::OutputKind::InputMutation;
    const auto index = program_.parameter_by_name.find(spec.target);
    const bool is_read =
        index != program_.parameter_by_name.end() && parameters_.count(index->second) != 0 &&
        graph_->find_parameter(program_.parameters[index->second].name)->has_uses();
    if (is_input || is_read) {
      base::fail("lowering", ErrorCode::Unsupported, "the program changes ",
                 is_input ? "its input '" : "the buffer '", spec.target, "'");
    }
  }
  for (const auto& memory : inputs_) {
    if (memory->version == 0) continue;
    const bool is_input = memory->kind == Memory::Kind::Input;
    const ir::Value* original =
        is_input ? graph_->find(memory->owner) : graph_->find_parameter(memory->owner);
    if (is_input || (original != nullptr && original->has_uses())) {
      base::fail("lowering", ErrorCode::Unsupported, "the program changes ",
                 is_input ? "its input '" : "the buffer '", memory->owner, "' in place");
    }
  }
}

void Importer::add_symbols() {
  std::set<std::string> symbols;
  for (const ir::Value* input : graph_->inputs()) {
    for (const SymInt& size : input->dims())
      size.collect_symbols(symbols);
  }
  for (const std::string& name : symbols) {
    plan::Symbol symbol;
    symbol.name = name;
    const auto range = program_.exported.ranges.find(name);
    if (range != program_.exported.ranges.end()) {
      symbol.min = std::max<int64_t>(range->second.min, 0);
      symbol.max = range->second.max;
    }
    graph_->set_symbol(std::move(symbol));
  }
  for (const SizeGuard& guard : program_.guards) {
    std::set<std::string> used;
    guard.collect_symbols(used);
    // Sizes of numbers that are passed are no sizes of tensors.
    if (std::ranges::includes(symbols, used)) graph_->add_guard(guard);
  }
  tune_for_sizes_that_come();
}

// Where no call can have the sizes that are tuned for by default, those of the example are.
void Importer::tune_for_sizes_that_come() {
  const auto all_hold = [&](const SymbolValues& values) {
    return std::ranges::all_of(graph_->guards(),
                               [&](const SizeGuard& guard) { return guard.holds(values); });
  };
  if (all_hold(plan::tuned_sizes(graph_->symbols()))) return;
  std::vector<plan::Symbol> symbols = graph_->symbols();
  for (plan::Symbol& symbol : symbols) {
    const auto hint = program_.exported.graph.hints.find(symbol.name);
    if (hint == program_.exported.graph.hints.end() || hint->second < 1) continue;
    if (hint->second < symbol.min || hint->second > symbol.max) continue;
    symbol.optimum = hint->second;
  }
  if (!all_hold(plan::tuned_sizes(symbols))) return;
  for (plan::Symbol& symbol : symbols)
    graph_->set_symbol(std::move(symbol));
}

}  // namespace regraft::lowering
