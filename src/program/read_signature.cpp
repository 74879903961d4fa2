#include "program/read.h"

namespace regraft::program {
namespace {

// The name in {"arg": {"name": ...}}.
std::string argument_name(const Field& spec) {
  const Field argument = spec.at("arg");
  return argument.at("name").string();
}

InputSpec read_user_input(const Field& spec) {
  InputSpec out;
  const Field argument = spec.at("arg");
  ArgumentValue value = read_argument(argument, 0);
  if (auto* tensor = std::get_if<TensorName>(&value)) {
    out.argument = tensor->name;
    return out;
  }
  out.is_tensor = false;
  if (auto* symbol = std::get_if<SymName>(&value)) {
    out.argument = symbol->name;
  } else {
    out.kind = InputKind::ConstantInput;
  }
  return out;
}

InputSpec read_input_spec(const Field& field) {
  const auto [kind, spec] = field.alternative();
  InputSpec out;
  if (kind == "user_input") return read_user_input(spec);
  if (kind == "constant_input") {
    out.kind = InputKind::ConstantInput;
    out.is_tensor = false;
    out.argument = spec.at("name").string();
    return out;
  }
  out.argument = argument_name(spec);
  if (kind == "parameter") {
    out.kind = InputKind::Parameter;
    out.target = spec.at("parameter_name").string();
  } else if (kind == "buffer") {
    out.kind = InputKind::Buffer;
    out.target = spec.at("buffer_name").string();
    // Absent in the oldest files of the major version, where every buffer was persistent.
    if (const auto persistent = spec.find("persistent")) out.persistent = persistent->boolean();
  } else if (kind == "tensor_constant") {
    out.kind = InputKind::TensorConstant;
    out.target = spec.at("tensor_constant_name").string();
    out.persistent = false;
  } else if (kind == "custom_obj") {
    out.kind = InputKind::CustomObject;
    out.target = spec.at("custom_obj_name").string();
    out.is_tensor = false;
  } else if (kind == "token") {
    out.kind = InputKind::Token;
    out.is_tensor = false;
  } else {
    field.fail("unknown kind of input '", kind, "'");
  }
  return out;
}

OutputSpec read_output_spec(const Field& field) {
  const auto [kind, spec] = field.alternative();
  OutputSpec out;
  if (kind == "user_output") {
    const Field argument = spec.at("arg");
    out.value = read_argument(argument, 0);
    return out;
  }
  out.value = TensorName{argument_name(spec)};
  if (kind == "buffer_mutation") {
    out.kind = OutputKind::BufferMutation;
    out.target = spec.at("buffer_name").string();
  } else if (kind == "user_input_mutation") {
    out.kind = OutputKind::InputMutation;
    out.target = spec.at("user_input_name").string();
  } else if (kind == "parameter_mutation") {
    out.kind = OutputKind::ParameterMutation;
    out.target = spec.at("parameter_name").string();
  } else {
    out.kind = OutputKind::Other;
    out.target = std::string(kind);
  }
  return out;
}

}  // namespace

std::vector<InputSpec> read_input_specs(const Field& specs) {
  std::vector<InputSpec> out;
  specs.each([&](const Field& spec) { out.push_back(read_input_spec(spec)); });
  return out;
}

std::vector<OutputSpec> read_output_specs(const Field& specs) {
  std::vector<OutputSpec> out;
  specs.each([&](const Field& spec) { out.push_back(read_output_spec(spec)); });
  return out;
}

}  // namespace regraft::program
