#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fail.h"
#include "tensor/attributes.h"

namespace regraft::ops {

enum class ArgumentType {
  Tensor,
  OptionalTensor,  // "Tensor?"
  TensorList,      // "Tensor[]", "Tensor?[]": at most one per schema; elements may be absent
  Bool,            // "bool"
  Int,             // "int": may be symbolic
  Ints,            // "int[]"
  Float,           // "float": takes an integer as well
  Floats,          // "float[]"
  Text,            // "str"
  DataType,        // "dtype"
  Scalar,          // "Scalar": bool, int or float, as the program wrote it
};

struct Argument {
  std::string name;
  ArgumentType type;
  bool optional = false;              // "int?", "dtype?", ...: None is a value
  std::optional<Attribute> fallback;  // The default; without one the argument is required.

  bool is_tensor() const { return type <= ArgumentType::TensorList; }
};

// Parsed form of "(Tensor x, Tensor? bias=None, *, int[] stride=[1,1], str mode=\"none\") ->
// Tensor". Tensors come first and are the node's inputs, flat and in order; the rest are
// attributes. Results: "Tensor", "(Tensor, Tensor)" or "Tensor[]" (as many as the type rule says).
struct Schema {
  std::vector<Argument> arguments;
  int result_count = 1;  // -1: decided by the type rule

  // Throws Error{Internal}: schemas are part of this source code.
  static Schema parse(std::string_view text);

  size_t tensor_count() const;  // Arguments that are tensors; a list counts as one.
  bool has_list() const;
  const Argument* find(std::string_view name) const;
  // Index into a node's flat inputs where tensor argument `name` begins, given the node's total
  // number of inputs.
  size_t input_index(std::string_view name, size_t input_count) const;
  // How many of `input_count` flat inputs belong to the list argument.
  size_t list_length(size_t input_count) const;
};

}  // namespace regraft::ops
