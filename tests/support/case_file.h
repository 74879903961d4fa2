#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/text.h"
#include "regraft/tensor.h"

namespace regraft::test {

// How an input of a case is filled and stored; one word of "# input x: uniform(0,1) permuted(1,0)".
struct InputWord {
  std::string name;
  std::vector<double> arguments;
};

// One run of a case of a .cases file, at one dtype and one set of sizes. docs/conformance.md
// describes the format.
struct Case {
  std::string name;   // "softmax/last f32 s=5"
  std::string op;     // The file's stem.
  std::string torch;  // The Python expression that computes the same from the inputs.
  std::string dtype;  // What `T` stands for; empty where the case has no dtypes.
  std::string graph;  // IR text.
  SymbolValues sizes;
  std::map<std::string, std::vector<InputWord>> inputs;
  std::map<std::string, double> tolerance;  // Relative L2 error by dtype, where stated.

  std::unique_ptr<ir::Graph> parse() const { return ir::parse(graph); }
};

// A tensor with its memory, of any strides.
struct StoredTensor {
  Tensor memory;
  TensorView view;
};

// Every run of every case of a file. Throws Error{"conformance", InvalidArgument} with the line.
std::vector<Case> parse_cases(std::string_view op, std::string_view text);
// The stems of tests/conformance/cases/*.cases, sorted.
std::vector<std::string> case_files();
std::vector<Case> load_cases(const std::string& op);

// Inputs of the graph, in order: the same values on every machine.
std::vector<StoredTensor> make_inputs(const Case& c, const ir::Graph& graph);

}  // namespace regraft::test
