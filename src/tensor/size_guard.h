#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "tensor/sym_int.h"

namespace regraft {

// What has to hold between the sizes of a program's inputs beyond the ranges of its symbols: a way
// that the program took when it was exported.
struct SizeGuard {
  enum class Relation : uint8_t { Equal, NotEqual, Less, LessEqual };

  SymInt left;
  Relation relation = Relation::Equal;
  SymInt right;

  // False also where a side has no value: a divisor of zero.
  bool holds(const SymbolValues& values) const;
  // "mod(s0,2) == 0"
  std::string str() const;
  void collect_symbols(std::set<std::string>& out) const;
  SizeGuard substitute(const std::map<std::string, SymInt>& by) const;
  // Whatever the symbols are: "8 == 8", "s0 <= s0".
  bool is_always_true() const;

  friend bool operator==(const SizeGuard& a, const SizeGuard& b) = default;
};

// "==", "!=", "<", "<="
std::string_view text_of(SizeGuard::Relation relation);

}  // namespace regraft
