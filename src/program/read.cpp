#include "program/read.h"

#include "program/srepr.h"

namespace regraft::program {
namespace {

constexpr int64_t kMajor = 8;

void check_version(const Field& root) {
  const Field version = root.at("schema_version");
  const int64_t major = version.at("major").integer();
  if (major != kMajor) {
    base::fail("program", ErrorCode::Version, "want schema version ", kMajor, ".x, have ", major,
               ".", version.at("minor").integer(), ": export the model with torch 2.9 or later");
  }
}

// Keys are expressions as Python prints them; only those of plain symbols name a symbol's range.
void read_ranges(const Field& ranges, ExportedProgram& out) {
  ranges.each_member([&](std::string_view key, const Field& range) {
    const auto expression = try_parse_expression(key);
    if (!expression || expression->is_constant() || expression->str() != key) return;
    if (key.find_first_of("+-*/( ") != std::string_view::npos) return;
    SymbolRange symbol;
    if (const auto min = range.find("min_val")) symbol.min = min->integer();
    if (const auto max = range.find("max_val")) symbol.max = max->integer();
    if (symbol.min > symbol.max) range.fail("the range is empty");
    out.ranges[std::string(key)] = symbol;
  });
}

void read_call(const Field& module, ExportedProgram& out) {
  const auto calls = module.find("module_call_graph");
  if (!calls) return;
  bool first = true;
  calls->each([&](const Field& entry) {
    if (!first) return;  // The root module's stands first.
    first = false;
    const auto signature = entry.find("signature");
    if (!signature) return;
    if (const auto spec = signature->find("in_spec")) out.in_spec = spec->string();
    if (const auto spec = signature->find("out_spec")) out.out_spec = spec->string();
    if (const auto names = signature->find("forward_arg_names")) {
      names->each([&](const Field& name) { out.forward_arguments.push_back(name.string()); });
    }
  });
}

const std::string* name_of(const ArgumentValue& value) {
  if (const auto* tensor = std::get_if<TensorName>(&value)) return &tensor->name;
  if (const auto* symbol = std::get_if<SymName>(&value)) return &symbol->name;
  return nullptr;
}

void check_signature(const Field& signature, const ExportedProgram& program) {
  const ExportedGraph& graph = program.graph;
  if (graph.inputs.size() != program.inputs.size()) {
    signature.fail("the graph has ", graph.inputs.size(), " inputs, the signature ",
                   program.inputs.size());
  }
  if (graph.outputs.size() != program.outputs.size()) {
    signature.fail("the graph has ", graph.outputs.size(), " outputs, the signature ",
                   program.outputs.size());
  }
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const InputSpec& spec = program.inputs[i];
    const std::string* name = name_of(graph.inputs[i]);
    if (spec.is_tensor && (name == nullptr || *name != spec.argument)) {
      signature.fail("input ", i, " of the graph is '", name == nullptr ? "" : *name,
                     "', of the signature '", spec.argument, "'");
    }
  }
}

bool has_functional_verifier(const Field& root) {
  bool functional = false;
  if (const auto verifiers = root.find("verifiers")) {
    verifiers->each([&](const Field& verifier) {
      if (verifier.string() == "ATEN") functional = true;
    });
  }
  return functional;
}

}  // namespace

ExportedProgram read_exported(std::string_view json) {
  // Deeper than any graph of ours (arguments, then graphs in graphs), shallower than the stack.
  constexpr size_t kJsonDepth = 256;
  simdjson::dom::parser parser;
  if (parser.allocate(json.size(), kJsonDepth) != simdjson::SUCCESS) {
    base::fail("program", ErrorCode::OutOfMemory, "model.json: ", json.size(), " bytes");
  }
  simdjson::dom::element element;
  if (const auto error = parser.parse(json.data(), json.size()).get(element)) {
    base::fail("program", ErrorCode::Corrupt, "model.json: ", simdjson::error_message(error));
  }
  const Field root(element);
  check_version(root);
  ExportedProgram program;
  program.is_functional = has_functional_verifier(root);
  const Field module = root.at("graph_module");
  const Field graph = module.at("graph");
  program.graph = read_graph(graph, 0);
  const Field signature = module.at("signature");
  const Field inputs = signature.at("input_specs");
  program.inputs = read_input_specs(inputs);
  const Field outputs = signature.at("output_specs");
  program.outputs = read_output_specs(outputs);
  check_signature(signature, program);
  if (const auto ranges = root.find("range_constraints")) read_ranges(*ranges, program);
  if (const auto guards = root.find("guards_code")) {
    guards->each([&](const Field& guard) { program.guards.push_back(guard.string()); });
  }
  read_call(module, program);
  return program;
}

}  // namespace regraft::program
