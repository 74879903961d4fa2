#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lowering/memory.h"
#include "lowering/signature.h"
#include "lowering/symbolic.h"

namespace regraft::lowering {

// What a name of the exported program stands for. Empty: a result that its op's handler does not
// give.
using Binding = std::variant<std::monostate, Ref, Symbolic>;
using Environment = std::map<std::string, Binding, std::less<>>;

// Thrown by handlers for a use of an op that has no lowering; the importer collects them.
struct UnsupportedCall {
  std::string reason;
  // Only because an op before it has no lowering.
  bool is_consequence = false;
};

// One node of the exported program, as its handler sees it: arguments by PyTorch's names with
// defaults filled in, and the graph under construction. Getters throw Error{"lowering", Corrupt}
// when the program passes something of another type.
class Call {
 public:
  Call(ir::Graph& graph, Environment& environment, const program::ExportedNode& node,
       const program::ExportedGraph& exported, const Signature& signature);

  // ---- arguments ----
  bool is_none(std::string_view name) const;
  bool is_tensor(std::string_view name) const;
  bool has(std::string_view name) const;  // Passed by the program, not defaulted.
  Ref& ref(std::string_view name);
  ir::Value* tensor(std::string_view name);
  ir::Value* optional_tensor(std::string_view name);       // Null for None.
  std::vector<ir::Value*> tensors(std::string_view name);  // Null where an element is absent.
  SymDims sizes(std::string_view name);
  // A list of `count` integers; a single one (or a list of one) stands for all.
  SymDims sizes(std::string_view name, size_t count);
  SymInt size(std::string_view name);
  int64_t integer(std::string_view name);
  Dims integers(std::string_view name);
  double number(std::string_view name);
  bool flag(std::string_view name);
  std::string text(std::string_view name);
  std::optional<DType> dtype(std::string_view name);  // Nothing for None.
  // A number (bool, SymInt, double) or None.
  Attribute scalar(std::string_view name);
  // Any value that is not a tensor.
  Attribute attribute(std::string_view name);
  // A dimension index made non-negative for a tensor of `rank`; a 0-d tensor has dimension 0.
  int64_t axis(std::string_view name, size_t rank);
  // The same for a list or a single index; nothing for None and, as PyTorch's reductions mean it,
  // for the empty list.
  std::optional<Dims> axes(std::string_view name, size_t rank);

  // ---- building ----
  ir::Graph& graph() { return graph_; }
  ir::Value* emit(std::string_view op, const std::vector<ir::Value*>& inputs,
                  Attributes attributes = {});
  std::vector<ir::Value*> emit_all(std::string_view op, const std::vector<ir::Value*>& inputs,
                                   Attributes attributes = {});
  // x op scalar.
  ir::Value* emit_scalar(std::string_view op, ir::Value* x, Attribute scalar);
  ir::Value* cast(ir::Value* x, DType dtype);  // x itself where it has the dtype.
  ir::Value* reshape(ir::Value* x, SymDims dims);
  // A view of `of` by a catalogue op.
  Ref view(const Ref& of, std::string_view op, Attributes attributes);

  // ---- results, in the order of the op's returns ----
  void result(ir::Value* value);  // Memory of its own.
  void result(Ref ref);           // Shares memory with an argument.
  void result(Symbolic value) { results_.emplace_back(std::move(value)); }
  // Overwrites the argument `name`, which is the result.
  void write(std::string_view name, ir::Value* value);
  std::vector<Binding>& results() { return results_; }
  // Rebinds the argument's name to another view (unsqueeze_).
  void rebind(std::string_view name, Ref ref);
  // How many results the program names.
  size_t result_count() const;
  // What the program states about result `i`; null when nothing.
  const program::TensorMeta* result_meta(size_t i) const;

  const program::ExportedNode& node() const { return node_; }

  template <typename... Parts>
  [[noreturn]] void unsupported(const Parts&... parts) const {
    throw UnsupportedCall{base::cat(parts...)};
  }

 private:
  const program::ArgumentValue& value(std::string_view name) const;
  Binding& lookup(const std::string& name);
  Ref& lookup_tensor(const std::string& name);
  Symbolic lookup_symbol(const std::string& name);
  SymInt element(const program::SymElement& element);
  template <typename... Parts>
  [[noreturn]] void fail(std::string_view argument, const Parts&... parts) const;

  ir::Graph& graph_;
  Environment& environment_;
  const program::ExportedNode& node_;
  const program::ExportedGraph& exported_;
  const Signature& signature_;
  std::vector<Binding> results_;
};

// Makes a constant expression of a symbolic number. Throws UnsupportedCall for unknown ones and
// for fractions of symbols.
Attribute to_attribute(const Symbolic& value);

}  // namespace regraft::lowering
