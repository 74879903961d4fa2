#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "regraft/tensor.h"
#include "tensor/sym_int.h"

namespace regraft {

// The value of one attribute of a node or step. `monostate` is None.
// A Scalar argument is whichever of bool, SymInt and double the program wrote.
using Attribute = std::variant<std::monostate, bool, SymInt, double, std::string, SymDims,
                               std::vector<double>, DType>;

// Text form: none, true, 5, s0*2, 1e-05, "str", [1,s0], [0.5,1.0], f32. Lists of integers and of
// floats tell apart by their elements; the empty list reads as a list of integers.
std::string to_string(const Attribute& value);
bool operator==(const Attribute& a, const Attribute& b);

// Attributes by name, in a fixed (sorted) order. The typed getters throw Error{Internal} when the
// name is absent or of another type: schemas are checked before a getter runs.
class Attributes {
 public:
  using Entry = std::pair<std::string, Attribute>;
  Attributes() = default;
  Attributes(std::initializer_list<Entry> entries);

  void set(std::string_view name, Attribute value);
  void erase(std::string_view name);
  // Null when absent.
  const Attribute* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  bool is_none(std::string_view name) const;  // Absent or None.

  bool flag(std::string_view name) const;
  const SymInt& size(std::string_view name) const;
  int64_t integer(std::string_view name) const;  // A constant SymInt.
  double number(std::string_view name) const;    // bool, constant SymInt or double.
  const std::string& text(std::string_view name) const;
  const SymDims& sizes(std::string_view name) const;
  Dims integers(std::string_view name) const;  // Constant SymInts.
  DType dtype(std::string_view name) const;
  std::vector<double> numbers(std::string_view name) const;

  const std::vector<Entry>& entries() const { return entries_; }
  bool empty() const { return entries_.empty(); }
  // Every SymInt evaluated.
  Attributes resolved(const SymbolValues& values) const;
  friend bool operator==(const Attributes& a, const Attributes& b);

 private:
  std::vector<Entry> entries_;
};

// dtype and symbolic sizes of a tensor.
struct TensorType {
  DType dtype = DType::F32;
  SymDims dims;

  size_t rank() const { return dims.size(); }
  // "f32[s0,3]"
  std::string str() const;
  friend bool operator==(const TensorType& a, const TensorType& b) {
    return a.dtype == b.dtype && a.dims == b.dims;
  }
};

}  // namespace regraft
