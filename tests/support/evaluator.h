#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "regraft/tensor.h"

namespace regraft::test {

// Storage of the evaluator's results.
enum class ResultLayout { RowMajor, Reversed };  // Reversed: the first axis is innermost in memory.

// Runs a graph node by node on the reference backend's kernels, without plans or engines. Inputs
// are given in order, parameters by name; both may have any strides.
std::vector<Tensor> evaluate(const ir::Graph& graph, std::span<const TensorView> inputs,
                             const SymbolValues& sizes,
                             const std::map<std::string, TensorView>& parameters = {},
                             ResultLayout layout = ResultLayout::RowMajor);

// Why this machine cannot run the backend's engines, or the empty string.
std::string device_problem(std::string_view backend);

}  // namespace regraft::test
