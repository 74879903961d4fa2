#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "program/exported.h"
#include "tensor/size_guard.h"

namespace regraft::program {

// The size `dim` of the input that an argument is, or the number that it is, by the name of the
// graph's input ("x", and "d_a_b" for d["a b"]); nothing when there is no such input or size.
using SizeOfInput =
    std::function<std::optional<SymInt>(const std::string& input, std::optional<int64_t> dim)>;

// Reads a guard as PyTorch prints it in Python, "(L['x'].size()[0] % 2) == 0": comparisons, with
// "and" (or, between equalities, "or") between them, of sums, products, differences, //, % and
// torch.sym_max/min of integers and sizes. Nothing for other texts, such as those of floating-point
// numbers.
std::optional<std::vector<SizeGuard>> try_parse_guard(std::string_view text,
                                                      const SizeOfInput& size_of);

// Of the program's inputs. Those that always hold are left out, and so are those that cannot be
// read, with a warning in the log.
std::vector<SizeGuard> guards_of(const ExportedProgram& program);

}  // namespace regraft::program
