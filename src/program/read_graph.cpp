#include <set>
#include <unordered_map>

#include "program/read.h"
#include "program/serialised.h"
#include "program/srepr.h"

namespace regraft::program {
namespace {

// Graphs inside graphs (branches of cond, regions of autocast).
constexpr int kDepth = 8;

// {"as_int": n} or {"as_expr": {...}}.
StatedSize read_size(const Field& field) {
  const auto [kind, value] = field.alternative();
  if (kind == "as_int") return SymInt(value.integer());
  if (kind == "as_expr") return try_parse_expression(value.at("expr_str").string());
  return std::nullopt;
}

std::vector<StatedSize> read_sizes(const Field& list) {
  std::vector<StatedSize> out;
  list.each([&](const Field& size) { out.push_back(read_size(size)); });
  return out;
}

// The example's values of sizes that are a symbol alone.
void read_hints(const Field& sizes, SymbolValues& hints) {
  sizes.each([&](const Field& size) {
    const auto [kind, value] = size.alternative();
    if (kind != "as_expr") return;
    const auto hint = value.find("hint");
    const StatedSize stated = read_size(size);
    if (!hint || !stated) return;
    const auto [type, number] = hint->alternative();
    std::set<std::string> names;
    stated->collect_symbols(names);
    if (type != "as_int" || names.size() != 1) return;
    const std::string& name = *names.begin();
    if (*stated == SymInt::symbol(name)) hints.emplace(name, number.integer());
  });
}

TensorMeta read_meta(const Field& field) {
  TensorMeta meta;
  meta.serialised_dtype = static_cast<int>(field.at("dtype").integer());
  meta.dtype = try_dtype_of(meta.serialised_dtype);
  meta.sizes = read_sizes(field.at("sizes"));
  if (const auto strides = field.find("strides")) meta.strides = read_sizes(*strides);
  if (const auto layout = field.find("layout")) {
    meta.is_strided = layout->integer() == kStridedLayout;
  }
  return meta;
}

// {"as_name": name} or {"as_int": n} / {"as_bool": b} / {"as_float": x}.
ArgumentValue read_symbolic(const Field& field) {
  const auto [kind, value] = field.alternative();
  if (kind == "as_name") return SymName{value.string()};
  if (kind == "as_int") return value.integer();
  if (kind == "as_bool") return value.boolean();
  if (kind == "as_float") return value.number();
  field.fail("unknown kind of symbolic value '", kind, "'");
}

SymElement read_element(const Field& field) {
  ArgumentValue value = read_symbolic(field);
  if (auto* name = std::get_if<SymName>(&value)) return {name->name, 0};
  if (const auto* number = std::get_if<int64_t>(&value)) return {"", *number};
  field.fail("want an integer");
}

std::string tensor_name(const Field& field) {
  std::string name = field.at("name").string();
  if (name.empty()) field.fail("a tensor without a name");
  return name;
}

std::string optional_tensor_name(const Field& field) {
  const auto [kind, value] = field.alternative();
  return kind == "as_tensor" ? tensor_name(value) : "";
}

template <typename T, typename F>
std::vector<T> list(const Field& field, const F& read) {
  std::vector<T> out;
  out.reserve(field.size());
  field.each([&](const Field& element) { out.push_back(read(element)); });
  return out;
}

using Reader = ArgumentValue (*)(const Field& value);

const std::unordered_map<std::string_view, Reader>& readers() {
  using F = const Field&;
  static const std::unordered_map<std::string_view, Reader> table = {
      {"as_none", [](F) -> ArgumentValue { return std::monostate{}; }},
      {"as_tensor", [](F v) -> ArgumentValue { return TensorName{tensor_name(v)}; }},
      {"as_tensors", [](F v) -> ArgumentValue { return list<std::string>(v, tensor_name); }},
      {"as_optional_tensor",
       [](F v) -> ArgumentValue {
         std::string name = optional_tensor_name(v);
         if (name.empty()) return std::monostate{};
         return TensorName{std::move(name)};
       }},
      {"as_optional_tensors",
       [](F v) -> ArgumentValue { return list<std::string>(v, optional_tensor_name); }},
      {"as_int", [](F v) -> ArgumentValue { return v.integer(); }},
      {"as_ints",
       [](F v) -> ArgumentValue {
         return list<SymElement>(v, [](F e) { return SymElement{"", e.integer()}; });
       }},
      {"as_float", [](F v) -> ArgumentValue { return v.number(); }},
      {"as_floats",
       [](F v) -> ArgumentValue { return list<double>(v, [](F e) { return e.number(); }); }},
      {"as_string", [](F v) -> ArgumentValue { return v.string(); }},
      {"as_bool", [](F v) -> ArgumentValue { return v.boolean(); }},
      {"as_bools",
       [](F v) -> ArgumentValue { return list<bool>(v, [](F e) { return e.boolean(); }); }},
      {"as_sym_int", [](F v) -> ArgumentValue { return read_symbolic(v); }},
      {"as_sym_bool", [](F v) -> ArgumentValue { return read_symbolic(v); }},
      {"as_sym_float", [](F v) -> ArgumentValue { return read_symbolic(v); }},
      {"as_sym_ints", [](F v) -> ArgumentValue { return list<SymElement>(v, read_element); }},
      {"as_scalar_type",
       [](F v) -> ArgumentValue {
         const int id = static_cast<int>(v.integer());
         return DTypeId{try_dtype_of(id), id};
       }},
      {"as_memory_format",
       [](F v) -> ArgumentValue {
         const int64_t id = v.integer();
         if (id < 0 || id > static_cast<int64_t>(MemoryFormat::Preserve)) {
           return MemoryFormat::Unknown;
         }
         return static_cast<MemoryFormat>(id);
       }},
      {"as_layout", [](F v) -> ArgumentValue { return Layout{v.integer() == kStridedLayout}; }},
      {"as_device", [](F v) -> ArgumentValue { return Device{v.at("type").string()}; }},
  };
  return table;
}

ExportedNode read_node(const Field& field, int depth) {
  ExportedNode node;
  node.target = field.at("target").string();
  const Field inputs = field.at("inputs");
  inputs.each([&](const Field& input) {
    const Field argument = input.at("arg");
    node.inputs.push_back({input.at("name").string(), read_argument(argument, depth)});
  });
  const Field outputs = field.at("outputs");
  outputs.each([&](const Field& output) { node.outputs.push_back(read_argument(output, depth)); });
  if (const auto metadata = field.find("metadata")) {
    if (const auto stack = metadata->find("nn_module_stack")) {
      node.module_path = innermost_module(stack->string());
    }
    if (const auto trace = metadata->find("stack_trace")) {
      node.source_line = source_line(trace->string());
    }
  }
  if (const auto name = field.find("name")) node.name = name->string();
  if (node.name.empty() && !node.outputs.empty()) {
    if (const auto* tensor = std::get_if<TensorName>(&node.outputs[0])) node.name = tensor->name;
    if (const auto* symbol = std::get_if<SymName>(&node.outputs[0])) node.name = symbol->name;
  }
  return node;
}

}  // namespace

ArgumentValue read_argument(const Field& field, int depth) {
  const auto [kind, value] = field.alternative();
  if (kind == "as_graph") {
    if (depth >= kDepth) field.fail("graphs nest more than ", kDepth, " deep");
    const Field graph = value.at("graph");
    return std::make_shared<const ExportedGraph>(read_graph(graph, depth + 1));
  }
  const auto found = readers().find(kind);
  if (found != readers().end()) return found->second(value);
  return OtherArgument{std::string(kind.substr(0, 100))};
}

ExportedGraph read_graph(const Field& field, int depth) {
  ExportedGraph graph;
  const Field inputs = field.at("inputs");
  inputs.each([&](const Field& input) { graph.inputs.push_back(read_argument(input, depth)); });
  const Field outputs = field.at("outputs");
  outputs.each([&](const Field& output) { graph.outputs.push_back(read_argument(output, depth)); });
  const Field nodes = field.at("nodes");
  graph.nodes.reserve(nodes.size());
  nodes.each([&](const Field& node) { graph.nodes.push_back(read_node(node, depth)); });
  const Field tensors = field.at("tensor_values");
  tensors.each_member([&](std::string_view name, const Field& meta) {
    graph.tensors.emplace(name, read_meta(meta));
    read_hints(meta.at("sizes"), graph.hints);
  });
  if (const auto sizes = field.find("sym_int_values")) {
    sizes->each_member([&](std::string_view name, const Field& size) {
      graph.sizes.emplace(name, read_size(size));
    });
  }
  return graph;
}

}  // namespace regraft::program
