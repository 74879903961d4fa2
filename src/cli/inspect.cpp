#include "cli/commands.h"
#include "cli/texts.h"

namespace regraft::cli {
namespace {

void write_memory(JsonWriter& json, const MemoryReport& memory) {
  json.key("memory").begin_object();
  json.member("constants", memory.constants).member("previous", memory.previous);
  json.member("retained", memory.retained).member("mapped", memory.mapped);
  json.member("spare", memory.spare).member("sessions", memory.sessions).end_object();
}

std::string memory_text(const MemoryReport& memory) {
  const auto line = [](std::string_view what, size_t bytes) {
    return "  " + std::string(what) + " " + bytes_text(static_cast<double>(bytes)) + "\n";
  };
  return "memory\n" + line("constants", memory.constants) + line("retained", memory.retained) +
         line("mapped   ", memory.mapped) + line("sessions ", memory.sessions);
}

std::string inspect_json(const Engine& engine) {
  JsonWriter json;
  json.begin_object().member("name", engine.name()).member("backend", engine.backend());
  json.member("immutable", engine.is_immutable()).member("generation", engine.generation());
  const Signature signature = engine.signature();
  json.key("inputs").begin_array();
  for (const TensorSpec& spec : signature.inputs)
    write_spec(json, spec);
  json.end_array().key("outputs").begin_array();
  for (const TensorSpec& spec : signature.outputs)
    write_spec(json, spec);
  json.end_array().key("symbols").begin_array();
  for (const SymbolRange& symbol : signature.symbols) {
    json.begin_object().member("name", symbol.name).member("min", symbol.min);
    json.member("max", symbol.max).member("optimum", symbol.optimum).end_object();
  }
  json.end_array().key("parameters").begin_array();
  for (const ParameterInfo& parameter : engine.parameters()) {
    json.begin_object().member("name", parameter.spec.name);
    json.member("dtype", name(parameter.spec.dtype)).member("dims", parameter.spec.dims);
    json.member("aliases", parameter.aliases).end_object();
  }
  json.end_array().key("constants").begin_array();
  for (const ConstantInfo& constant : engine.constants()) {
    json.begin_object().member("name", constant.spec.name);
    json.member("dtype", name(constant.spec.dtype)).member("dims", constant.spec.dims);
    json.member("packing", constant.packing).member("bytes", constant.bytes).end_object();
  }
  json.end_array();
  write_memory(json, engine.memory());
  json.member("steps", engine.steps()).member("realised_digest", engine.realised_digest());
  return json.end_object().text();
}

std::string signature_text(const Signature& signature) {
  std::string out = "inputs\n";
  for (const TensorSpec& spec : signature.inputs)
    out += "  " + spec.name + ": " + spec.text() + "\n";
  out += "outputs\n";
  for (const TensorSpec& spec : signature.outputs) {
    out += "  " + spec.name + ": " + spec.text() + "\n";
  }
  if (!signature.symbols.empty()) out += "symbols\n";
  for (const SymbolRange& symbol : signature.symbols) {
    out += "  " + symbol.name + " in [" + std::to_string(symbol.min) + "," +
           (symbol.max == INT64_MAX ? "inf" : std::to_string(symbol.max)) + "]";
    out += symbol.optimum > 0 ? " at " + std::to_string(symbol.optimum) + "\n" : "\n";
  }
  return out;
}

std::string inspect_text(const Engine& engine) {
  std::string out = engine.name() + ", backend " + engine.backend();
  out += engine.is_immutable() ? ", immutable" : "";
  out += engine.generation() == 0 ? ", without weights\n" : "\n";
  out += signature_text(engine.signature());
  const auto parameters = engine.parameters();
  out += std::to_string(parameters.size()) + " parameters\n";
  for (const ParameterInfo& parameter : parameters) {
    out += "  @" + parameter.spec.name + ": " + parameter.spec.text();
    for (const std::string& alias : parameter.aliases)
      out += " = @" + alias;
    out += "\n";
  }
  const auto constants = engine.constants();
  out += std::to_string(constants.size()) + " constants\n";
  for (const ConstantInfo& constant : constants) {
    out += "  $" + constant.spec.name + ": " + constant.spec.text() + " " + constant.packing + " " +
           bytes_text(static_cast<double>(constant.bytes)) + "\n";
  }
  return out + memory_text(engine.memory()) + engine.steps();
}

}  // namespace

void inspect(const InspectArguments& arguments, const CommonArguments& common) {
  const Engine engine = Engine::load(arguments.engine);
  print(common.json ? inspect_json(engine) : inspect_text(engine));
}

}  // namespace regraft::cli
