#include "pipeline/cache_key.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/hash.h"
#include "base/text.h"
#include "cache/versions.h"
#include "pipeline/build_id.h"

namespace regraft::pipeline {
namespace {

// Raised when the meaning of an entry or of the text below changes.
constexpr int kKeyFormat = 1;

// Numbers the parts of a graph and writes it.
class Canonical {
 public:
  explicit Canonical(const ir::Graph& graph) : graph_(graph) {
    number_symbols();
    for (const ir::Value* input : graph.inputs())
      add_value(input);
    for (const auto& node : graph.nodes()) {
      for (const ir::Value* input : node->inputs())
        see(input);
      for (const ir::Value* output : node->outputs())
        add_value(output);
      names_.origins.push_back(node->origin().node.empty() ? node->name() : node->origin().node);
    }
    for (const ir::Graph::Output& output : graph.outputs()) {
      see(output.value);
      names_.outputs.push_back(output.name);
      names_.origins.push_back("output " + output.name);
    }
    for (const ir::Value* input : graph.inputs())
      names_.inputs.push_back(input->name());
  }

  const cache::Names& names() const { return names_; }

  std::string text() const {
    std::string out;
    for (const plan::Symbol& symbol : symbols_) {
      out += base::cat("symbol ", symbol.min, " ", symbol.max, " ", symbol.optimum, "\n");
    }
    for (const SizeGuard& guard : graph_.guards())
      out += base::cat("guard ", guard.substitute(numbers_).str(), "\n");
    for (const ir::Value* input : graph_.inputs())
      out += base::cat("input ", text(input->type()), "\n");
    for (const ir::Value* parameter : parameters_)
      out += base::cat("parameter ", text(parameter->type()), "\n");
    for (const auto& node : graph_.nodes())
      out += text(*node);
    for (const ir::Graph::Output& output : graph_.outputs())
      out += base::cat("output ", text(output.value), "\n");
    return out;
  }

 private:
  // In the order in which the inputs show them; those of no input behind.
  void number_symbols() {
    const auto add = [&](const std::string& name) {
      const SymInt number = SymInt::symbol(base::cat("s", names_.symbols.size()));
      if (!numbers_.emplace(name, number).second) return;
      names_.symbols.push_back(name);
      const auto& all = graph_.symbols();
      const auto at = std::find_if(all.begin(), all.end(),
                                   [&](const plan::Symbol& symbol) { return symbol.name == name; });
      symbols_.push_back(at != all.end() ? *at : plan::Symbol{name});
    };
    for (const ir::Value* input : graph_.inputs()) {
      for (const SymInt& size : input->dims()) {
        std::set<std::string> used;
        size.collect_symbols(used);
        std::for_each(used.begin(), used.end(), add);
      }
    }
    for (const plan::Symbol& symbol : graph_.symbols())
      add(symbol.name);
  }

  void add_value(const ir::Value* value) {
    values_.emplace(value, base::cat("%", names_.values.size()));
    names_.values.push_back(value->name());
  }

  // Parameters are numbered where they are read first: their table may have any order.
  void see(const ir::Value* value) {
    if (value == nullptr || !value->is_parameter()) return;
    if (!values_.emplace(value, base::cat("@", parameters_.size())).second) return;
    parameters_.push_back(value);
    const auto& all = graph_.parameters();
    const auto at = std::find_if(all.begin(), all.end(),
                                 [&](const ir::Graph::Parameter& p) { return p.value == value; });
    names_.parameters.push_back({value->name(), at->aliases});
  }

  std::string text(const ir::Value* value) const {
    return value == nullptr ? "none" : values_.at(value);
  }

  std::string text(const TensorType& type) const {
    SymDims dims;
    for (const SymInt& size : type.dims)
      dims.push_back(size.substitute(numbers_));
    return base::cat(name(type.dtype), to_string(dims));
  }

  // With the kind in front: 1, 1.0 and true are three scalars, [] is two lists.
  std::string text(Attribute value) const {
    if (auto* size = std::get_if<SymInt>(&value)) *size = size->substitute(numbers_);
    if (auto* sizes = std::get_if<SymDims>(&value)) {
      for (SymInt& size : *sizes)
        size = size.substitute(numbers_);
    }
    return base::cat(value.index(), ":", to_string(value));
  }

  std::string text(const ir::Node& node) const {
    std::string out = base::cat(node.op().is_opaque() ? "opaque " : "node ", node.op().name);
    for (const ir::Value* input : node.inputs())
      out += " " + text(input);
    for (const auto& [name, value] : node.attributes().entries())
      out += base::cat(" ", name, "=", text(value));
    out += " ->";
    for (const ir::Value* output : node.outputs())
      out += " " + text(output->type());
    return out + "\n";
  }

  const ir::Graph& graph_;
  cache::Names names_;
  std::map<std::string, SymInt> numbers_;
  std::vector<plan::Symbol> symbols_;
  std::vector<const ir::Value*> parameters_;
  std::map<const ir::Value*, std::string> values_;
};

std::string settings_text(const CompileOptions& options) {
  std::set<std::string> disabled(options.disabled_passes.begin(), options.disabled_passes.end());
  return base::cat(
      "cache ", kKeyFormat, "\ncompiler ", build_id(), "\n", cache::versions(options.backend),
      "precision ", name(options.precision), options.allow_tf32 ? " tf32" : "", "\nwithout ",
      base::join(std::vector<std::string>(disabled.begin(), disabled.end()), " "), "\n");
}

}  // namespace

std::string canonical_text(const ir::Graph& graph, const CompileOptions& options) {
  return settings_text(options) + Canonical(graph).text();
}

GraphKey graph_key(const ir::Graph& graph, const CompileOptions& options) {
  const Canonical canonical(graph);
  return {base::digest(settings_text(options) + canonical.text()), canonical.names()};
}

}  // namespace regraft::pipeline
