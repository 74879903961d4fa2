#pragma once

#include <string>
#include <vector>

#include "program/exported.h"

namespace regraft::program {

// A tensor or number that a node reads or makes.
struct Name {
  std::string text;
  bool is_number = false;
};

// In the order of the arguments; operands of regions included, their inner names not.
std::vector<Name> names_read(const ExportedNode& node);
std::vector<Name> names_made(const ExportedNode& node);
std::vector<Name> names_in(const ArgumentValue& value);

}  // namespace regraft::program
