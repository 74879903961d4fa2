#pragma once

#include <optional>
#include <string_view>

#include "tensor/sym_int.h"

namespace regraft::program {

// Reads an expression as sympy's srepr prints it, e.g.
// "Add(Mul(Integer(16), Symbol('s15', positive=True, integer=True)), Integer(16))", or in the plain
// form of older files ("s15*16 + 16"). Functions of PyTorch's own (FloorDiv, CleanDiv, Mod,
// PythonMod, Min, Max, TruncToInt of a division) are read too. Nothing when the text is malformed,
// too large, or no integer polynomial over those functions.
std::optional<SymInt> try_parse_expression(std::string_view text);

}  // namespace regraft::program
