#pragma once

#include <initializer_list>
#include <optional>
#include <string_view>

#include "ir/graph.h"

// Questions that handlers and passes ask of values.
namespace regraft::lowering {

// Made of parameters alone.
bool is_weight(const ir::Value* value);

// The matrix transposed: the source of a transpose, or a new one (before `before`, or at the end).
ir::Value* transposed(ir::Graph& graph, ir::Value* matrix, ir::Node* before = nullptr);

// The node that makes `value`, if it is of this op; null otherwise.
ir::Node* producer(const ir::Value* value, std::string_view op);

// The one node that reads `value`, which is no output: a pattern may swallow it. Null otherwise.
ir::Node* only_user(const ir::Value* value);

// The Scalar operand of a binary node as a number; nothing when it has two tensors.
std::optional<double> scalar_of(const ir::Node* node);
// The tensor operand beside the Scalar; null when there are two tensors.
ir::Value* beside_scalar(const ir::Node* node);

// The constant a `full` broadcasts, or nothing.
std::optional<double> constant_of(const ir::Value* value);

// Whether a permute swaps the last two dimensions and nothing else.
bool swaps_last_two(const ir::Node* permute);

}  // namespace regraft::lowering
