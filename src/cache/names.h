#pragma once

#include <string>
#include <vector>

#include "plan/plan.h"

namespace regraft::cache {

// What a program calls its parts, by positions that depend on its graph alone: two programs of one
// cache key have Names of equal lengths. Plain data.
struct Names {
  struct Parameter {
    std::string name;
    std::vector<std::string> aliases;
  };
  std::vector<Parameter> parameters;
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<std::string> symbols;
  std::vector<std::string> values;   // Inputs, then results of nodes.
  std::vector<std::string> origins;  // Of nodes; may repeat.
};

// Names of the same positions that no program has chosen. Symbols are s0, s1, ...
Names canonical(const Names& like);

// Gives everything that `plan` calls as `from` does the name that `to` has at the position; names
// that passes derived from such a name ("conv_weight" from "conv") follow it. Throws Error{"cache",
// Corrupt} when the plan has parameters, symbols or ports that `from` does not know.
void rename(plan::Plan& plan, const Names& from, const Names& to);

}  // namespace regraft::cache
