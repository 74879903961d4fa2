#include "cache/names.h"

#include <map>
#include <set>

#include "base/fail.h"

namespace regraft::cache {
namespace {

using Table = std::map<std::string, std::string, std::less<>>;

std::vector<std::string> numbered(std::string_view prefix, size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i)
    names.push_back(base::cat(prefix, i));
  return names;
}

// The first of equal names wins.
void pair_up(const std::vector<std::string>& from, const std::vector<std::string>& to,
             Table& table) {
  for (size_t i = 0; i < from.size(); ++i)
    table.emplace(from[i], to[i]);
}

class Renamer {
 public:
  Renamer(const Names& from, const Names& to) : from_(from), to_(to) {
    for (size_t i = 0; i < from.symbols.size(); ++i) {
      symbols_.emplace(from.symbols[i], SymInt::symbol(to.symbols[i]));
      symbol_names_.emplace(from.symbols[i], to.symbols[i]);
    }
    for (size_t i = 0; i < from.parameters.size(); ++i) {
      parameters_.emplace(from.parameters[i].name, i);
      values_.emplace(from.parameters[i].name, to.parameters[i].name);
    }
    pair_up(from.values, to.values, values_);
    pair_up(from.origins, to.origins, origins_);
  }

  void run(plan::Plan& plan) {
    rename_symbols(plan);
    rename_ports(plan.inputs, from_.inputs, to_.inputs, "inputs");
    rename_ports(plan.outputs, from_.outputs, to_.outputs, "outputs");
    for (SizeGuard& guard : plan.guards)
      guard = guard.substitute(symbols_);
    for (plan::Parameter& parameter : plan.parameters)
      rename_parameter(parameter);
    for (plan::Storage& storage : plan.storages)
      storage.bytes = storage.bytes.substitute(symbols_);
    for (plan::Buffer& buffer : plan.buffers) {
      buffer.name = derived(buffer.name);
      substitute(buffer.type.dims);
      substitute(buffer.strides);
      buffer.offset = buffer.offset.substitute(symbols_);
    }
    rename_constants(plan);
    for (auto* steps : {&plan.weight_steps, &plan.shape_steps, &plan.compute_steps}) {
      for (plan::Step& step : *steps)
        rename_step(step);
    }
  }

 private:
  void rename_symbols(plan::Plan& plan) const {
    for (plan::Symbol& symbol : plan.symbols) {
      const auto found = symbol_names_.find(symbol.name);
      if (found == symbol_names_.end()) {
        base::fail("cache", ErrorCode::Corrupt, "the plan has a symbol '", symbol.name,
                   "' of no position");
      }
      symbol.name = found->second;
    }
  }

  static void rename_ports(std::vector<plan::Port>& ports, const std::vector<std::string>& from,
                           const std::vector<std::string>& to, std::string_view what) {
    if (ports.size() != from.size()) {
      base::fail("cache", ErrorCode::Corrupt, what, ": want ", from.size(), ", have ",
                 ports.size());
    }
    for (size_t i = 0; i < ports.size(); ++i)
      ports[i].name = to[i];
  }

  void rename_parameter(plan::Parameter& parameter) const {
    const auto found = parameters_.find(parameter.name);
    if (found == parameters_.end()) {
      base::fail("cache", ErrorCode::Corrupt, "the plan has a parameter '", parameter.name,
                 "' of no position");
    }
    parameter.name = to_.parameters[found->second].name;
    parameter.aliases = to_.parameters[found->second].aliases;
  }

  // Names that stay could meet a new one.
  void rename_constants(plan::Plan& plan) const {
    std::set<std::string> taken;
    for (plan::Constant& constant : plan.constants) {
      const std::string name = derived(constant.name);
      constant.name = name;
      for (int i = 1; !taken.insert(constant.name).second; ++i)
        constant.name = base::cat(name, "_", i);
    }
  }

  void rename_step(plan::Step& step) const {
    const auto origin = origins_.find(step.origin);
    step.origin = origin != origins_.end() ? origin->second : derived(step.origin);
    Attributes renamed;
    for (const auto& [name, value] : step.attributes.entries()) {
      Attribute attribute = value;
      if (auto* size = std::get_if<SymInt>(&attribute)) *size = size->substitute(symbols_);
      if (auto* sizes = std::get_if<SymDims>(&attribute)) substitute(*sizes);
      renamed.set(name, std::move(attribute));
    }
    step.attributes = std::move(renamed);
  }

  // The longest known name that the name is, or that stands in it before a '_'.
  std::string derived(const std::string& name) const {
    for (size_t end = name.size(); end != std::string::npos && end > 0;
         end = name.rfind('_', end - 1)) {
      const auto found = values_.find(std::string_view(name).substr(0, end));
      if (found != values_.end()) return found->second + name.substr(end);
    }
    return name;
  }

  void substitute(SymDims& dims) const {
    for (SymInt& size : dims)
      size = size.substitute(symbols_);
  }

  const Names& from_;
  const Names& to_;
  std::map<std::string, SymInt> symbols_;
  Table symbol_names_, values_, origins_;
  std::map<std::string, size_t, std::less<>> parameters_;
};

}  // namespace

Names canonical(const Names& like) {
  Names names;
  for (std::string& name : numbered("@", like.parameters.size()))
    names.parameters.push_back({std::move(name), {}});
  names.inputs = numbered("in", like.inputs.size());
  names.outputs = numbered("out", like.outputs.size());
  names.symbols = numbered("s", like.symbols.size());
  names.values = numbered("%", like.values.size());
  names.origins = numbered("#", like.origins.size());
  return names;
}

void rename(plan::Plan& plan, const Names& from, const Names& to) { Renamer(from, to).run(plan); }

}  // namespace regraft::cache
