#include "tensor/size_guard.h"

#include "base/fail.h"

namespace regraft {

bool SizeGuard::holds(const SymbolValues& values) const {
  int64_t a = 0, b = 0;
  try {
    a = left.eval(values);
    b = right.eval(values);
  } catch (const Error&) {
    return false;
  }
  switch (relation) {
    case Relation::Equal:
      return a == b;
    case Relation::NotEqual:
      return a != b;
    case Relation::Less:
      return a < b;
    case Relation::LessEqual:
      return a <= b;
  }
  return false;
}

bool SizeGuard::is_always_true() const {
  if (left.is_constant() && right.is_constant()) return holds({});
  return left == right && (relation == Relation::Equal || relation == Relation::LessEqual);
}

std::string_view text_of(SizeGuard::Relation relation) {
  switch (relation) {
    case SizeGuard::Relation::Equal:
      return "==";
    case SizeGuard::Relation::NotEqual:
      return "!=";
    case SizeGuard::Relation::Less:
      return "<";
    case SizeGuard::Relation::LessEqual:
      return "<=";
  }
  return "";
}

std::string SizeGuard::str() const {
  return base::cat(left.str(), " ", text_of(relation), " ", right.str());
}

void SizeGuard::collect_symbols(std::set<std::string>& out) const {
  left.collect_symbols(out);
  right.collect_symbols(out);
}

SizeGuard SizeGuard::substitute(const std::map<std::string, SymInt>& by) const {
  return {left.substitute(by), relation, right.substitute(by)};
}

}  // namespace regraft
