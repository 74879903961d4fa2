#include "lowering/importer.h"

#include <algorithm>

#include "base/fail.h"
#include "lowering/aten/aten.h"
#include "lowering/live_numbers.h"

namespace regraft::lowering {
namespace {

using program::ExportedGraph;
using program::ExportedNode;

std::string place(const ExportedNode& node) {
  std::string out = node.module_path.empty() ? "" : " at " + node.module_path;
  if (!node.source_line.empty()) out += (out.empty() ? " at " : ", ") + node.source_line;
  return out;
}

void collect_used(const ExportedGraph& graph, std::set<std::string, std::less<>>& out) {
  const auto add = [&](const program::ArgumentValue& value) {
    if (const auto* tensor = std::get_if<program::TensorName>(&value)) {
      out.insert(tensor->name);
    } else if (const auto* list = std::get_if<program::TensorNames>(&value)) {
      out.insert(list->begin(), list->end());
    } else if (const auto* inner = std::get_if<std::shared_ptr<const ExportedGraph>>(&value)) {
      if (*inner != nullptr) collect_used(**inner, out);
    }
  };
  for (const ExportedNode& node : graph.nodes) {
    for (const program::NamedArgument& argument : node.inputs)
      add(argument.value);
  }
  for (const program::ArgumentValue& output : graph.outputs)
    add(output);
}

std::set<std::string, std::less<>> used_in(const ExportedGraph& graph) {
  std::set<std::string, std::less<>> out;
  collect_used(graph, out);
  out.erase(std::string());  // Tensors that are absent.
  return out;
}

// Names of a node's results in order; empty for None.
std::vector<std::string> result_names(const ExportedNode& node) {
  std::vector<std::string> names;
  for (const program::ArgumentValue& output : node.outputs) {
    if (const auto* tensor = std::get_if<program::TensorName>(&output)) {
      names.push_back(tensor->name);
    } else if (const auto* symbol = std::get_if<program::SymName>(&output)) {
      names.push_back(symbol->name);
    } else if (const auto* list = std::get_if<program::TensorNames>(&output)) {
      names.insert(names.end(), list->begin(), list->end());
    } else {
      names.emplace_back();
    }
  }
  return names;
}

}  // namespace

std::string location(const ExportedNode& node) {
  return node.name + " (" + std::string(short_target(node.target)) + ")" + place(node);
}

Importer::Importer(const Program::Impl& program, bool allow_opaque)
    : program_(program),
      allow_opaque_(allow_opaque),
      used_(used_in(program.exported.graph)),
      numbers_(live_numbers(program.exported.graph)) {}

std::unique_ptr<ir::Graph> Importer::run() {
  add_inputs();
  run_graph(program_.exported.graph);
  fail_unsupported();
  add_outputs();
  graph_->erase_dead_nodes();
  check_writes();
  graph_->erase_unused_parameters();
  add_symbols();
  return std::move(graph_);
}

void Importer::survey(const OnNode& on_node) {
  surveys_ = true;
  add_inputs();
  const ExportedGraph& graph = program_.exported.graph;
  for (const ExportedNode& node : graph.nodes) {
    const ir::Node* last = graph_->nodes().empty() ? nullptr : graph_->nodes().back().get();
    refusal_.clear();
    run_node(graph, node);
    std::vector<const ir::Node*> made;
    for (auto at = graph_->nodes().rbegin(); at != graph_->nodes().rend(); ++at) {
      if (at->get() == last) break;
      made.push_back(at->get());
    }
    on_node({node, refusal_, made});
  }
}

void Importer::run_graph(const ExportedGraph& graph) {
  for (const ExportedNode& node : graph.nodes)
    run_node(graph, node);
}

void Importer::run_node(const ExportedGraph& graph, const ExportedNode& node) {
  const ir::Node* last = graph_->nodes().empty() ? nullptr : graph_->nodes().back().get();
  try {
    dispatch(graph, node);
  } catch (const UnsupportedCall& call) {
    if (!only_gives_checked_numbers(graph, node)) add_opaque(graph, node, call);
  } catch (const Error& error) {
    const bool is_memory = error.code() == ErrorCode::OutOfMemory;
    if (error.code() == ErrorCode::Unsupported || (surveys_ && !is_memory)) {
      add_opaque(graph, node, {error.what()});
    } else {
      base::fail("lowering", error.code(), location(node), ": ", error.what());
    }
  }
  const ir::Origin origin{node.name, node.module_path, node.source_line};
  for (auto at = graph_->nodes().rbegin(); at != graph_->nodes().rend(); ++at) {
    if (at->get() == last) break;
    if ((*at)->origin().node.empty()) (*at)->set_origin(origin);
  }
}

void Importer::dispatch(const ExportedGraph& graph, const ExportedNode& node) {
  const std::string_view name = short_target(node.target);
  if (is_symbolic_target(node.target)) return run_symbolic(node);
  if (is_check(name)) return;
  if (name == "higher_order.wrap_with_set_grad_enabled") return inline_region(node, 1);
  if (name == "higher_order.wrap_with_autocast") {
    // device_type, dtype, enabled, cache_enabled, graph
    const auto* enabled =
        node.inputs.size() > 4 ? std::get_if<bool>(&node.inputs[2].value) : nullptr;
    if (enabled == nullptr || *enabled) throw UnsupportedCall{"autocast is enabled"};
    return inline_region(node, 4);
  }
  constexpr std::string_view kAten = "aten.";
  if (!name.starts_with(kAten)) throw UnsupportedCall{""};
  run_aten(graph, node, name.substr(kAten.size()));
}

// Numbers of tensors (item) that nothing but checks reads. A survey has dead nodes out of the way.
bool Importer::only_gives_checked_numbers(const ExportedGraph& graph, const ExportedNode& node) {
  if (surveys_ || &graph != &program_.exported.graph || node.outputs.empty()) return false;
  for (const program::ArgumentValue& output : node.outputs) {
    const auto* number = std::get_if<program::SymName>(&output);
    if (number == nullptr || numbers_.contains(number->name)) return false;
  }
  for (const program::ArgumentValue& output : node.outputs)
    environment_[std::get<program::SymName>(output).name] = Binding{};
  return true;
}

void Importer::run_aten(const ExportedGraph& graph, const ExportedNode& node,
                        std::string_view name) {
  const aten::Lowering* lowering = aten::find(name);
  if (lowering == nullptr) throw UnsupportedCall{""};
  Call call(*graph_, environment_, node, graph, lowering->signature);
  lowering->run(call);
  want_used_results(node, call.results());
  bind_results(graph, node, call.results());
}

// A lowering may leave out results that inference does not read: statistics for a gradient.
void Importer::want_used_results(const ExportedNode& node,
                                 const std::vector<Binding>& results) const {
  const std::vector<std::string> names = result_names(node);
  for (size_t i = 0; i < names.size(); ++i) {
    const bool is_made = i < results.size() && !std::holds_alternative<std::monostate>(results[i]);
    if (!is_made && used_.contains(names[i])) {
      throw UnsupportedCall{base::cat("its result ", i)};
    }
  }
}

void Importer::run_symbolic(const ExportedNode& node) {
  std::vector<Symbolic> arguments;
  for (const program::NamedArgument& argument : node.inputs) {
    const Binding binding = binding_of(argument.value);
    const auto* symbol = std::get_if<Symbolic>(&binding);
    arguments.push_back(symbol == nullptr ? Symbolic{} : *symbol);
  }
  const Symbolic value = apply_symbolic(node.target, arguments);
  for (const program::ArgumentValue& output : node.outputs) {
    if (const auto* name = std::get_if<program::SymName>(&output)) {
      environment_[name->name] = value;
    }
  }
}

Binding Importer::binding_of(const program::ArgumentValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return Symbolic(*flag);
  if (const auto* whole = std::get_if<int64_t>(&value)) return Symbolic(SymInt(*whole));
  if (const auto* real = std::get_if<double>(&value)) return Symbolic(SymFloat{*real, 1, 1});
  const std::string* name = nullptr;
  if (const auto* symbol = std::get_if<program::SymName>(&value)) name = &symbol->name;
  if (const auto* tensor = std::get_if<program::TensorName>(&value)) name = &tensor->name;
  if (name == nullptr) return {};
  const auto found = environment_.find(*name);
  if (found == environment_.end()) {
    base::fail("lowering", ErrorCode::Corrupt, "'", name->substr(0, 200),
               "' is used but not defined before");
  }
  return found->second;
}

// The region's names are its own; its memory is that of the operands.
void Importer::inline_region(const ExportedNode& node, size_t graph_argument) {
  if (node.inputs.size() <= graph_argument) throw UnsupportedCall{"a region without a graph"};
  const auto* region =
      std::get_if<std::shared_ptr<const ExportedGraph>>(&node.inputs[graph_argument].value);
  if (region == nullptr) throw UnsupportedCall{"a region without a graph"};
  const ExportedGraph& inner = **region;
  const size_t operands = node.inputs.size() - graph_argument - 1;
  if (inner.inputs.size() != operands) {
    base::fail("lowering", ErrorCode::Corrupt, "the region takes ", inner.inputs.size(),
               " operands, not ", operands);
  }
  Environment own;
  for (size_t i = 0; i < operands; ++i) {
    Binding binding = binding_of(node.inputs[graph_argument + 1 + i].value);
    if (const auto* name = std::get_if<program::TensorName>(&inner.inputs[i])) {
      own[name->name] = std::move(binding);
    } else if (const auto* symbol = std::get_if<program::SymName>(&inner.inputs[i])) {
      own[symbol->name] = std::move(binding);
    }
  }
  std::swap(environment_, own);
  run_graph(inner);
  std::vector<Binding> results;
  for (const program::ArgumentValue& output : inner.outputs)
    results.push_back(binding_of(output));
  std::swap(environment_, own);
  bind_results(inner, node, results);
}

void Importer::bind_results(const ExportedGraph& graph, const ExportedNode& node,
                            std::vector<Binding>& results) {
  const std::vector<std::string> names = result_names(node);
  for (size_t i = 0; i < names.size(); ++i) {
    if (!names[i].empty()) bind(graph, names[i], i < results.size() ? results[i] : Binding{});
  }
}

void Importer::bind(const ExportedGraph& graph, const std::string& name, Binding binding) {
  if (auto* ref = std::get_if<Ref>(&binding)) {
    const auto found = graph.tensors.find(name);
    ref->meta = found == graph.tensors.end() ? nullptr : &found->second;
    const TensorType& type = ref->value->type();
    constexpr size_t kMaxRank = 64;  // As PyTorch's.
    if (type.rank() > kMaxRank) {
      base::fail("lowering", ErrorCode::Corrupt, "'", name.substr(0, 200), "' has rank ",
                 type.rank());
    }
    if (ref->meta != nullptr) {
      const program::TensorMeta& meta = *ref->meta;
      bool agrees = !meta.dtype || *meta.dtype == type.dtype;
      agrees = agrees && meta.sizes.size() == type.rank();
      for (size_t i = 0; agrees && i < type.rank(); ++i) {
        const program::StatedSize& size = meta.sizes[i];
        agrees =
            !size || !size->is_constant() || !type.dims[i].is_constant() || *size == type.dims[i];
      }
      if (!agrees) {
        base::fail("lowering", ErrorCode::Corrupt, "'", name.substr(0, 200), "' is ", type.str(),
                   " by inference, the program states ", stated_type(graph, name).str());
      }
    }
    const ir::Node* producer = ref->value->producer();
    if (producer != nullptr && producer->origin().node.empty()) {
      specialise(*ref);
      graph_->rename(ref->value, name);
    }
  }
  environment_[name] = std::move(binding);
}

// Where the program knows a size that inference does not (min(1,s0) of a slice is 1, as s0 is at
// least 2), the value gets it by a reshape: a symbolic size could not broadcast.
void Importer::specialise(Ref& ref) {
  if (ref.meta == nullptr) return;
  const SymDims from = ref.value->dims();
  SymDims dims = from;
  for (size_t i = 0; i < dims.size(); ++i) {
    const program::StatedSize& size = ref.meta->sizes[i];
    if (size && size->is_constant()) dims[i] = *size;
  }
  if (dims == from) return;
  const bool is_whole = ref.memory->value == ref.value;
  const ir::Node* node = graph_->add("reshape", {ref.value}, {{"dims", dims}});
  ref.value = node->output();
  if (is_whole) {
    ref.memory->value = ref.value;
  } else {
    ref.steps.push_back({"reshape", node->attributes(), from});
  }
}

TensorType Importer::stated_type(const ExportedGraph& graph, const std::string& name) const {
  const auto found = graph.tensors.find(name);
  if (found == graph.tensors.end()) {
    base::fail("lowering", ErrorCode::Corrupt, "'", name.substr(0, 200), "' has no type");
  }
  const program::TensorMeta& meta = found->second;
  if (!meta.dtype) {
    base::fail("lowering", ErrorCode::Unsupported, "'", name.substr(0, 200), "' has dtype ",
               meta.serialised_dtype, " of the serialiser, which Regraft does not have");
  }
  TensorType type{*meta.dtype, {}};
  for (const program::StatedSize& size : meta.sizes) {
    if (!size) {
      base::fail("lowering", ErrorCode::Unsupported, "'", name.substr(0, 200),
                 "' has a size that is no expression over integers");
    }
    type.dims.push_back(*size);
  }
  return type;
}

void Importer::fail_unsupported() const {
  std::vector<std::string> lines;
  for (const Unsupported& op : unsupported_) {
    if (op.is_consequence || (allow_opaque_ && op.stays_opaque)) continue;
    std::string line = base::cat(op.target, ": ", op.count, op.count == 1 ? " node" : " nodes",
                                 ", the first", op.first);
    if (!op.reason.empty()) line += " (" + op.reason + ")";
    lines.push_back(std::move(line));
  }
  if (lines.empty()) return;
  base::fail("lowering", ErrorCode::Unsupported, lines.size() == 1 ? "an op" : "ops",
             " without a lowering:\n  ", base::join(lines, "\n  "));
}

}  // namespace regraft::lowering
