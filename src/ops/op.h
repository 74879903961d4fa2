#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/schema.h"
#include "tensor/attributes.h"

namespace regraft::ops {

// What a type rule sees of one node: the types of its inputs (flat, in schema order, null where an
// optional tensor is absent) and its attributes, complete and of the schema's types.
class TypeContext {
 public:
  TypeContext(std::string_view op, std::span<const TensorType* const> inputs,
              const Attributes& attributes)
      : op_(op), inputs_(inputs), attributes_(attributes) {}

  std::string_view op() const { return op_; }
  size_t input_count() const { return inputs_.size(); }
  bool has(size_t i) const { return i < inputs_.size() && inputs_[i] != nullptr; }
  // The type of input i. Fails when it is absent.
  const TensorType& in(size_t i) const;
  const Attributes& attributes() const { return attributes_; }

  void out(TensorType type) { outputs_.push_back(std::move(type)); }
  void out(DType dtype, SymDims dims) { out(TensorType{dtype, std::move(dims)}); }
  std::vector<TensorType> take_outputs() { return std::move(outputs_); }

  // Throws Error{"ops", Mismatch}: "conv2d: <parts>".
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    base::fail("ops", ErrorCode::Mismatch, op_, ": ", parts...);
  }
  // `dim` in [-rank, rank) made non-negative; fails outside. A 0-d tensor counts as rank 1.
  size_t dim(int64_t dim, size_t rank) const;

 private:
  std::string_view op_;
  std::span<const TensorType* const> inputs_;
  const Attributes& attributes_;
  std::vector<TensorType> outputs_;
};

// Computes the output types from the input types and attributes; every output goes to
// context.out(). Anything that does not fit goes to context.fail().
using TypeRule = void (*)(TypeContext& context);

// Facts that passes and backends may rely on. A bit set.
enum Trait : uint32_t {
  kNoTraits = 0,
  // Each output element depends on the elements at the same (broadcast) position only.
  kPointwise = 1u << 0,
  // The output is the input's elements, rearranged or repeated, none computed.
  kView = 1u << 1,
  // Has no tensor inputs.
  kCreation = 1u << 2,
  // Elements are taken from inputs and converted, none computed; what attributes make a computation
  // the type rule refuses for float8. Like views and creation, it takes dtypes that are only
  // stored.
  kMoves = 1u << 3,
};

// One entry of the catalogue.
struct OpDef {
  std::string_view name;
  // "(Tensor x, Tensor weight, Tensor? bias=None, *, int[] stride=[1,1]) -> Tensor"; see schema.h.
  std::string_view schema_text;
  TypeRule type_rule = nullptr;
  uint32_t traits = kNoTraits;
};

// The ops of one catalogue file: one op, or a family that differs in one line each.
using OpFamily = std::span<const OpDef>;

// A catalogue op with its schema parsed; what nodes point to. Lives for the whole process unless
// opaque.
struct Op {
  std::string name;
  Schema schema;
  TypeRule type_rule = nullptr;  // Null for an opaque op: its types come from the program.
  uint32_t traits = kNoTraits;

  bool is_opaque() const { return type_rule == nullptr; }
  bool has(Trait trait) const { return (traits & trait) != 0; }
};

// The catalogue: every op, sorted by name. Thread-safe.
std::span<const Op> catalogue();
// Null when there is no such op.
const Op* find_op(std::string_view name);
// Throws Error{"ops", NotFound} with the nearest name.
const Op& op(std::string_view name);

// Completes `attributes` with the schema's defaults, checks names and types of attributes and the
// number of inputs, and runs the type rule. Throws Error{"ops", Mismatch} naming the op.
std::vector<TensorType> infer_types(const Op& op, std::span<const TensorType* const> inputs,
                                    Attributes& attributes);

// Result type of arithmetic between tensors, as torch.result_type: tensors of one or more
// dimensions outrank 0-d tensors, which outrank Scalars, within and across categories
// (bool < integral < floating < complex). `scalar` may be null.
DType promote(std::span<const TensorType* const> tensors, const Attribute* scalar);

// Broadcast of two shapes. Sizes that are equal as expressions match; 1 broadcasts; a symbolic size
// against a different constant is taken to be equal to it. Fails through `context`.
SymDims broadcast(const TypeContext& context, const SymDims& a, const SymDims& b);

}  // namespace regraft::ops
