#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "program/exported.h"

namespace regraft::lowering {

// Names and defaults of an op's arguments, as PyTorch declares them (native_functions.yaml). Text
// form: "clamp(self, min=None, max=None)", "add.Tensor,Scalar(self, other, alpha=1)" for several
// overloads; without one, "default" is meant. Defaults are None, True, False, numbers, "text" and
// lists of integers.
struct Signature {
  struct Argument {
    std::string name;
    bool has_default = false;
    program::ArgumentValue fallback;
  };
  std::string op;
  std::vector<std::string> overloads;
  std::vector<Argument> arguments;

  // Throws Error{Internal}: signatures are part of this source code.
  static Signature parse(std::string_view text);
  const Argument* find(std::string_view name) const;
};

}  // namespace regraft::lowering
