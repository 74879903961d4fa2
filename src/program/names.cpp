#include "program/names.h"

namespace regraft::program {

std::vector<Name> names_in(const ArgumentValue& value) {
  std::vector<Name> names;
  if (const auto* tensor = std::get_if<TensorName>(&value)) names.push_back({tensor->name, false});
  if (const auto* number = std::get_if<SymName>(&value)) names.push_back({number->name, true});
  if (const auto* tensors = std::get_if<TensorNames>(&value)) {
    for (const std::string& tensor : *tensors)
      if (!tensor.empty()) names.push_back({tensor, false});
  }
  if (const auto* numbers = std::get_if<std::vector<SymElement>>(&value)) {
    for (const SymElement& number : *numbers)
      if (!number.name.empty()) names.push_back({number.name, true});
  }
  return names;
}

std::vector<Name> names_read(const ExportedNode& node) {
  std::vector<Name> names;
  for (const NamedArgument& argument : node.inputs) {
    for (Name& name : names_in(argument.value))
      names.push_back(std::move(name));
  }
  return names;
}

std::vector<Name> names_made(const ExportedNode& node) {
  std::vector<Name> names;
  for (const ArgumentValue& output : node.outputs) {
    for (Name& name : names_in(output))
      names.push_back(std::move(name));
  }
  return names;
}

}  // namespace regraft::program
