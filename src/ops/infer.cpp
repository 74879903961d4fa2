#include <algorithm>

#include "ops/op.h"
#include "ops/type_rules.h"
#include "tensor/promotion.h"

namespace regraft::ops {
namespace {

bool accepts(const Argument& argument, Attribute& value) {
  if (std::holds_alternative<std::monostate>(value)) return argument.optional;
  switch (argument.type) {
    case ArgumentType::Bool:
      return std::holds_alternative<bool>(value);
    case ArgumentType::Int:
      return std::holds_alternative<SymInt>(value);
    case ArgumentType::Ints:
      // A single number stands for a list of one, as PyTorch allows for stride=2.
      if (auto* size = std::get_if<SymInt>(&value)) value = SymDims{*size};
      return std::holds_alternative<SymDims>(value);
    case ArgumentType::Float:
      if (auto* size = std::get_if<SymInt>(&value); size != nullptr && size->is_constant()) {
        value = static_cast<double>(size->value());
      }
      return std::holds_alternative<double>(value);
    case ArgumentType::Floats:
      return std::holds_alternative<std::vector<double>>(value) ||
             std::holds_alternative<SymDims>(value);
    case ArgumentType::Text:
      return std::holds_alternative<std::string>(value);
    case ArgumentType::DataType:
      return std::holds_alternative<DType>(value);
    case ArgumentType::Scalar:
      return std::holds_alternative<bool>(value) || std::holds_alternative<SymInt>(value) ||
             std::holds_alternative<double>(value);
    default:
      return false;
  }
}

void complete(const Op& op, Attributes& attributes) {
  for (const auto& entry : attributes.entries()) {
    const Argument* argument = op.schema.find(entry.first);
    if (argument == nullptr || argument->is_tensor()) {
      base::fail("ops", ErrorCode::Mismatch, op.name, ": unknown attribute '", entry.first, "'");
    }
  }
  for (const Argument& argument : op.schema.arguments) {
    if (argument.is_tensor()) continue;
    const Attribute* given = attributes.find(argument.name);
    if (given == nullptr && !argument.fallback) {
      base::fail("ops", ErrorCode::Mismatch, op.name, ": attribute '", argument.name,
                 "' is required");
    }
    Attribute value = given != nullptr ? *given : *argument.fallback;
    if (!accepts(argument, value)) {
      base::fail("ops", ErrorCode::Mismatch, op.name, ": attribute '", argument.name,
                 "' cannot be ", to_string(value));
    }
    attributes.set(argument.name, std::move(value));
  }
}

void check_inputs(const Op& op, std::span<const TensorType* const> inputs) {
  const size_t fixed = op.schema.tensor_count() - (op.schema.has_list() ? 1 : 0);
  if (inputs.size() < fixed || (!op.schema.has_list() && inputs.size() != fixed)) {
    base::fail("ops", ErrorCode::Mismatch, op.name, ": want ", fixed, " inputs, have ",
               inputs.size());
  }
  size_t index = 0;
  for (const Argument& argument : op.schema.arguments) {
    if (!argument.is_tensor()) continue;
    if (argument.type == ArgumentType::TensorList) {
      index += op.schema.list_length(inputs.size());
      continue;
    }
    if (argument.type == ArgumentType::Tensor && inputs[index] == nullptr) {
      base::fail("ops", ErrorCode::Mismatch, op.name, ": input '", argument.name, "' is absent");
    }
    ++index;
  }
}

}  // namespace

std::vector<TensorType> infer_types(const Op& op, std::span<const TensorType* const> inputs,
                                    Attributes& attributes) {
  complete(op, attributes);
  check_inputs(op, inputs);
  TypeContext context(op.name, inputs, attributes);
  const bool computes = (op.traits & (kMoves | kView | kCreation)) == 0;
  for (const TensorType* input : inputs) {
    if (computes && input != nullptr) check_computed(context, input->dtype);
  }
  op.type_rule(context);
  std::vector<TensorType> outputs = context.take_outputs();
  if (op.schema.result_count >= 0 &&
      outputs.size() != static_cast<size_t>(op.schema.result_count)) {
    base::fail("ops", ErrorCode::Internal, op.name, ": type rule gave ", outputs.size(),
               " outputs, schema says ", op.schema.result_count);
  }
  for (const TensorType& output : outputs) {
    if (computes) check_computed(context, output.dtype);
  }
  return outputs;
}

const TensorType& TypeContext::in(size_t i) const {
  if (!has(i)) fail("input ", i, " is absent");
  return *inputs_[i];
}

size_t TypeContext::dim(int64_t dim, size_t rank) const {
  const auto size = static_cast<int64_t>(std::max<size_t>(rank, 1));
  if (dim < -size || dim >= size) fail("dim ", dim, " is outside a tensor of rank ", rank);
  return static_cast<size_t>(dim < 0 ? dim + size : dim);
}

DType promote(std::span<const TensorType* const> tensors, const Attribute* scalar) {
  std::vector<PromotionOperand> operands;
  for (const TensorType* type : tensors) {
    if (type == nullptr) continue;
    operands.push_back(
        {type->dtype, type->dims.empty() ? PromotionRank::ZeroDim : PromotionRank::Dimensioned});
  }
  if (scalar != nullptr && !std::holds_alternative<std::monostate>(*scalar)) {
    operands.push_back({number_dtype(*scalar), PromotionRank::Number});
  }
  return regraft::promote(operands);
}

SymDims broadcast(const TypeContext& context, const SymDims& a, const SymDims& b) {
  SymDims out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    const SymInt x = i < a.size() ? a[a.size() - 1 - i] : SymInt(1);
    const SymInt y = i < b.size() ? b[b.size() - 1 - i] : SymInt(1);
    SymInt& size = out[out.size() - 1 - i];
    if (x == y || y == SymInt(1)) {
      size = x;
    } else if (x == SymInt(1)) {
      size = y;
    } else if (x.is_constant() && y.is_constant()) {
      context.fail("cannot broadcast ", to_string(a), " with ", to_string(b));
    } else {
      size = x.is_constant() ? x : y.is_constant() ? y : x;
    }
  }
  return out;
}

}  // namespace regraft::ops
