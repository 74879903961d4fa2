#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace regraft {

// Values of the symbols of one binding, by name.
using SymbolValues = std::map<std::string, int64_t, std::less<>>;

// An integer expression over symbols of input shapes: sums of products of symbols and of the
// opaque functions floordiv, mod, min and max. Kept in canonical form, so equal polynomials compare
// and print equal: "s0*16+1", "floordiv(s0,2)", "max(s0,s1)". Immutable; cheap to copy.
// Arithmetic throws Error{OutOfMemory} on int64 overflow and beyond 128 terms or 32 factors.
class SymInt {
 public:
  SymInt(int64_t value = 0) : constant_(value) {}  // NOLINT: a number is an expression.
  // A letter or '_', then letters, digits and '_'. Throws Error{InvalidArgument} for other names.
  static SymInt symbol(std::string_view name);
  // Reads the printed form (also '-', parentheses and '//' for floordiv). Throws
  // Error{InvalidArgument}. Nesting is limited to 64 levels, the text to 4096 characters.
  static SymInt parse(std::string_view text);

  bool is_constant() const { return terms_ == nullptr; }
  // The value of a constant expression. Throws Error{InvalidArgument} for any other.
  int64_t value() const;
  std::string str() const;
  // Throws Error{InvalidArgument} when a symbol has no value or a divisor is zero.
  int64_t eval(const SymbolValues& values) const;
  void collect_symbols(std::set<std::string>& out) const;
  // The expression with symbols renamed or replaced; symbols that are not in `by` stay.
  SymInt substitute(const std::map<std::string, SymInt>& by) const;

  friend SymInt operator+(const SymInt& a, const SymInt& b);
  friend SymInt operator-(const SymInt& a, const SymInt& b);
  friend SymInt operator*(const SymInt& a, const SymInt& b);
  friend bool operator==(const SymInt& a, const SymInt& b);
  // Rounds towards minus infinity. An exact division of polynomials gives the quotient; of other
  // divisions by a constant, the terms it divides are taken out: floordiv(s0*4+s1+5,2) is
  // s0*2+floordiv(s1+1,2)+2.
  friend SymInt floordiv(const SymInt& a, const SymInt& b);
  // Sign of the divisor, as in Python; simplifies as floordiv does.
  friend SymInt mod(const SymInt& a, const SymInt& b);
  friend SymInt min(const SymInt& a, const SymInt& b);
  friend SymInt max(const SymInt& a, const SymInt& b);

  struct Atom;  // A symbol or a function; of the implementation.

 private:
  struct Term;
  struct Terms;
  static SymInt from_terms(Terms&& terms);
  static Terms to_terms(const SymInt& x);
  static SymInt function(int kind, const SymInt& a, const SymInt& b);
  bool try_exact_division(const SymInt& by, SymInt& quotient) const;
  static void split(const SymInt& a, int64_t by, SymInt& whole, SymInt& rest);

  int64_t constant_ = 0;
  std::shared_ptr<const Terms> terms_;
};

using SymDims = std::vector<SymInt>;

// Product of the sizes.
SymInt numel(const SymDims& dims);
SymDims to_sym(const std::vector<int64_t>& dims);
// Every size evaluated.
std::vector<int64_t> eval(const SymDims& dims, const SymbolValues& values);
// "[s0,3]"
std::string to_string(const SymDims& dims);

}  // namespace regraft
