#pragma once

#include <string_view>

#include "program/exported.h"
#include "program/json.h"

namespace regraft::program {

// Reads the JSON of an exported program: schema major 8, any minor; unknown members are ignored and
// missing optional ones take their defaults. Promises that specs and graph inputs and outputs agree
// in number, and inputs in name; everything else about names is checked by who uses them. Throws
// Error{"program", Corrupt, Version, Unsupported, OutOfMemory}.
ExportedProgram read_exported(std::string_view json);

// Parts of it, one file each.
ExportedGraph read_graph(const Field& graph, int depth);
ArgumentValue read_argument(const Field& argument, int depth);
std::vector<InputSpec> read_input_specs(const Field& specs);
std::vector<OutputSpec> read_output_specs(const Field& specs);
// "a.b.c" of the innermost module, and "file.py:12" of the innermost frame outside PyTorch.
std::string innermost_module(std::string_view nn_module_stack);
std::string source_line(std::string_view stack_trace);

}  // namespace regraft::program
