#pragma once

#include <variant>

#include "program/exported.h"
#include "tensor/attributes.h"

namespace regraft::lowering {

// factor * numerator / denominator, not rounded: the float a program makes of sizes on the way to
// a size (`int(h * 0.5)`).
struct SymFloat {
  double factor = 1.0;
  SymInt numerator = 1;
  SymInt denominator = 1;

  bool is_constant() const { return numerator.is_constant() && denominator.is_constant(); }
  double value() const;
};

// A Python number of the exported program. Unknown where it depends on tensor values or is a
// comparison of sizes (which only asserts use).
using Symbolic = std::variant<std::monostate, bool, SymInt, SymFloat>;

// Applies "_operator.*", "torch.sym_*" and "math.*" targets. Unknown when the operation or an
// argument is.
Symbolic apply_symbolic(std::string_view target, const std::vector<Symbolic>& arguments);

// Whether the program computes Python numbers with this target.
bool is_symbolic_target(std::string_view target);

// Bounds the growth of expressions in hostile programs. Throws Error{"lowering", OutOfMemory}.
void check_size(const SymInt& value);

}  // namespace regraft::lowering
