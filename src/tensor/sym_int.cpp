#include "tensor/sym_int.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "base/fail.h"

namespace regraft {
namespace {

int64_t checked_add(int64_t a, int64_t b) {
  int64_t out;
  if (__builtin_add_overflow(a, b, &out)) {
    base::fail("shape", ErrorCode::OutOfMemory, "size overflows: ", a, " + ", b);
  }
  return out;
}

int64_t checked_mul(int64_t a, int64_t b) {
  int64_t out;
  if (__builtin_mul_overflow(a, b, &out)) {
    base::fail("shape", ErrorCode::OutOfMemory, "size overflows: ", a, " * ", b);
  }
  return out;
}

int64_t floor_division(int64_t a, int64_t b) {
  if (b == 0) base::fail("shape", ErrorCode::InvalidArgument, "division of ", a, " by zero");
  if (b == -1) return checked_mul(a, -1);
  const int64_t quotient = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? quotient - 1 : quotient;
}

int64_t floor_remainder(int64_t a, int64_t b) {
  if (b == 0) base::fail("shape", ErrorCode::InvalidArgument, "remainder of ", a, " by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && ((rest < 0) != (b < 0)) ? rest + b : rest;
}

// No real shape comes near; hostile text must not cost much.
constexpr size_t kMostTerms = 128;
constexpr size_t kMostFactors = 32;

enum Kind { kSymbol, kFloorDiv, kMod, kMin, kMax };
constexpr std::string_view kKindNames[] = {"", "floordiv", "mod", "min", "max"};

int64_t apply(int kind, int64_t a, int64_t b) {
  switch (kind) {
    case kFloorDiv:
      return floor_division(a, b);
    case kMod:
      return floor_remainder(a, b);
    case kMin:
      return std::min(a, b);
    default:
      return std::max(a, b);
  }
}

}  // namespace

struct SymInt::Atom {
  int kind;
  std::string text;  // Symbol name or printed function.
  SymInt a, b;
};

using Factors = std::vector<std::shared_ptr<const SymInt::Atom>>;

struct SymInt::Term {
  int64_t coefficient = 0;
  Factors factors;  // Sorted by text.
};

namespace {

Factors multiplied(const Factors& a, const Factors& b) {
  Factors out;
  out.reserve(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out),
             [](const auto& p, const auto& q) { return p->text < q->text; });
  if (out.size() > kMostFactors) {
    base::fail("shape", ErrorCode::OutOfMemory, "a size is a product of more than ", kMostFactors,
               " factors");
  }
  return out;
}

// The factors of `a` without those of `by`, if it has them all.
bool try_divided(const Factors& a, const Factors& by, Factors& out) {
  out = a;
  for (const auto& factor : by) {
    const auto found = std::find_if(out.begin(), out.end(),
                                    [&](const auto& f) { return f->text == factor->text; });
    if (found == out.end()) return false;
    out.erase(found);
  }
  return true;
}

// Lexicographic order of monomials, the atom whose text sorts first weighing most. Multiplication
// keeps it, which long division needs; the order of the keys of Terms has not this property.
bool is_less(const Factors& a, const Factors& b) {
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (a[i]->text != b[i]->text) return a[i]->text > b[i]->text;
  }
  return a.size() < b.size();
}

}  // namespace

// Keyed by the joined factor texts; the empty key is the constant term.
struct SymInt::Terms : std::map<std::string, Term> {
  void add(int64_t coefficient, Factors factors) {
    std::string key;
    for (const auto& factor : factors)
      key += factor->text + "*";
    Term& term = (*this)[key];
    term.coefficient = checked_add(term.coefficient, coefficient);
    term.factors = std::move(factors);
    if (term.coefficient == 0) erase(key);
    if (size() > kMostTerms) {
      base::fail("shape", ErrorCode::OutOfMemory, "a size is a sum of more than ", kMostTerms,
                 " terms");
    }
  }

  const Term& leading() const {
    return std::max_element(begin(), end(),
                            [](const auto& x, const auto& y) {
                              return is_less(x.second.factors, y.second.factors);
                            })
        ->second;
  }
};

SymInt::Terms SymInt::to_terms(const SymInt& x) {
  if (x.terms_) return *x.terms_;
  Terms terms;
  if (x.constant_ != 0) terms.add(x.constant_, {});
  return terms;
}

SymInt SymInt::from_terms(Terms&& terms) {
  if (terms.empty()) return 0;
  if (terms.size() == 1 && terms.begin()->first.empty()) return terms.begin()->second.coefficient;
  SymInt out;
  out.terms_ = std::make_shared<const Terms>(std::move(terms));
  return out;
}

SymInt SymInt::symbol(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  const auto is_word = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); };
  if (name.empty() || !is_letter(name[0]) || !std::all_of(name.begin(), name.end(), is_word)) {
    base::fail("shape", ErrorCode::InvalidArgument, "not the name of a symbol: '",
               name.substr(0, 200), "'");
  }
  Terms terms;
  terms.add(1, {std::make_shared<const Atom>(Atom{kSymbol, std::string(name), {}, {}})});
  return from_terms(std::move(terms));
}

SymInt SymInt::function(int kind, const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return apply(kind, a.constant_, b.constant_);
  Terms terms;
  std::string text = std::string(kKindNames[kind]) + "(" + a.str() + "," + b.str() + ")";
  terms.add(1, {std::make_shared<const Atom>(Atom{kind, std::move(text), a, b})});
  return from_terms(std::move(terms));
}

int64_t SymInt::value() const {
  if (!is_constant()) {
    base::fail("shape", ErrorCode::InvalidArgument, "want a constant size, have ", str());
  }
  return constant_;
}

std::string SymInt::str() const {
  if (is_constant()) return std::to_string(constant_);
  std::string text, constant;
  const auto sign = [](int64_t value) {
    // The smallest integer is only read with its own sign.
    return value > 0 || value == std::numeric_limits<int64_t>::min() ? "+" : "";
  };
  for (const auto& [key, term] : *terms_) {
    if (term.factors.empty()) {
      constant = sign(term.coefficient) + std::to_string(term.coefficient);
      continue;
    }
    if (!text.empty()) text += sign(term.coefficient);
    std::string factors;
    for (const auto& factor : term.factors) {
      if (!factors.empty()) factors += '*';
      factors += factor->text;
    }
    // A positive coefficient stands last ("s0*16"); a negative one leads, to parse as one term.
    if (term.coefficient == 1) {
      text += factors;
    } else if (term.coefficient == -1) {
      text += "-" + factors;
    } else {
      const std::string number = std::to_string(term.coefficient);
      text += term.coefficient < 0 ? number + "*" + factors : factors + "*" + number;
    }
  }
  return text + constant;
}

int64_t SymInt::eval(const SymbolValues& values) const {
  if (is_constant()) return constant_;
  int64_t sum = 0;
  for (const auto& [key, term] : *terms_) {
    int64_t product = term.coefficient;
    for (const auto& factor : term.factors) {
      if (factor->kind == kSymbol) {
        const auto found = values.find(factor->text);
        if (found == values.end()) {
          base::fail("shape", ErrorCode::InvalidArgument, "symbol ", factor->text, " has no value");
        }
        product = checked_mul(product, found->second);
      } else {
        product = checked_mul(product,
                              apply(factor->kind, factor->a.eval(values), factor->b.eval(values)));
      }
    }
    sum = checked_add(sum, product);
  }
  return sum;
}

void SymInt::collect_symbols(std::set<std::string>& out) const {
  if (is_constant()) return;
  for (const auto& [key, term] : *terms_) {
    for (const auto& factor : term.factors) {
      if (factor->kind == kSymbol) {
        out.insert(factor->text);
      } else {
        factor->a.collect_symbols(out);
        factor->b.collect_symbols(out);
      }
    }
  }
}

SymInt SymInt::substitute(const std::map<std::string, SymInt>& by) const {
  if (is_constant()) return *this;
  SymInt sum;
  for (const auto& [key, term] : *terms_) {
    SymInt product = term.coefficient;
    for (const auto& factor : term.factors) {
      if (factor->kind == kSymbol) {
        const auto found = by.find(factor->text);
        product = product * (found == by.end() ? symbol(factor->text) : found->second);
      } else {
        const SymInt a = factor->a.substitute(by), b = factor->b.substitute(by);
        product = product * (factor->kind == kFloorDiv ? floordiv(a, b)
                             : factor->kind == kMod    ? mod(a, b)
                             : factor->kind == kMin    ? min(a, b)
                                                       : max(a, b));
      }
    }
    sum = sum + product;
  }
  return sum;
}

SymInt operator+(const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return checked_add(a.constant_, b.constant_);
  SymInt::Terms terms = SymInt::to_terms(a);
  for (const auto& [key, term] : SymInt::to_terms(b))
    terms.add(term.coefficient, term.factors);
  return SymInt::from_terms(std::move(terms));
}

SymInt operator-(const SymInt& a, const SymInt& b) { return a + b * -1; }

SymInt operator*(const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return checked_mul(a.constant_, b.constant_);
  const SymInt::Terms left = SymInt::to_terms(a), right = SymInt::to_terms(b);
  SymInt::Terms terms;
  for (const auto& [left_key, x] : left) {
    for (const auto& [right_key, y] : right) {
      terms.add(checked_mul(x.coefficient, y.coefficient), multiplied(x.factors, y.factors));
    }
  }
  return SymInt::from_terms(std::move(terms));
}

bool operator==(const SymInt& a, const SymInt& b) {
  if (a.is_constant() || b.is_constant()) {
    return a.is_constant() && b.is_constant() && a.constant_ == b.constant_;
  }
  return a.terms_ == b.terms_ ||
         std::equal(a.terms_->begin(), a.terms_->end(), b.terms_->begin(), b.terms_->end(),
                    [](const auto& x, const auto& y) {
                      return x.first == y.first && x.second.coefficient == y.second.coefficient;
                    });
}

// Long division of polynomials, given up at the first term that leaves a remainder.
bool SymInt::try_exact_division(const SymInt& by, SymInt& quotient) const {
  const Terms divisor = to_terms(by);
  const Term& lead = divisor.leading();
  Terms rest = to_terms(*this), out;
  for (size_t step = 0; !rest.empty(); ++step) {
    const Term term = rest.leading();
    Factors factors;
    if (step > kMostTerms || floor_remainder(term.coefficient, lead.coefficient) != 0 ||
        !try_divided(term.factors, lead.factors, factors)) {
      return false;
    }
    const int64_t coefficient = floor_division(term.coefficient, lead.coefficient);
    for (const auto& [key, part] : divisor) {
      rest.add(checked_mul(checked_mul(coefficient, -1), part.coefficient),
               multiplied(factors, part.factors));
    }
    out.add(coefficient, std::move(factors));
  }
  quotient = from_terms(std::move(out));
  return true;
}

// a == whole * by + rest: rest has the terms that `by` does not divide and a constant term between
// 0 and `by`.
void SymInt::split(const SymInt& a, int64_t by, SymInt& whole, SymInt& rest) {
  Terms whole_terms, rest_terms;
  for (const auto& [key, term] : to_terms(a)) {
    const int64_t remainder = floor_remainder(term.coefficient, by);
    if (remainder == 0 || term.factors.empty()) {
      const int64_t quotient = floor_division(term.coefficient, by);
      if (quotient != 0) whole_terms.add(quotient, term.factors);
      if (remainder != 0) rest_terms.add(remainder, {});
    } else {
      rest_terms.add(term.coefficient, term.factors);
    }
  }
  whole = from_terms(std::move(whole_terms));
  rest = from_terms(std::move(rest_terms));
}

SymInt floordiv(const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return apply(kFloorDiv, a.constant_, b.constant_);
  if (b == SymInt(0)) base::fail("shape", ErrorCode::InvalidArgument, "division by zero");
  SymInt quotient;
  if (a.try_exact_division(b, quotient)) return quotient;
  if (!b.is_constant()) return SymInt::function(kFloorDiv, a, b);
  SymInt rest;
  SymInt::split(a, b.constant_, quotient, rest);
  return quotient + SymInt::function(kFloorDiv, rest, b);
}

SymInt mod(const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return apply(kMod, a.constant_, b.constant_);
  if (b == SymInt(0)) base::fail("shape", ErrorCode::InvalidArgument, "division by zero");
  SymInt quotient;
  if (a.try_exact_division(b, quotient)) return 0;
  if (!b.is_constant()) return SymInt::function(kMod, a, b);
  SymInt rest;
  SymInt::split(a, b.constant_, quotient, rest);
  return SymInt::function(kMod, rest, b);
}

SymInt min(const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return std::min(a.constant_, b.constant_);
  const SymInt difference = a - b;
  if (difference.is_constant()) return difference.constant_ <= 0 ? a : b;
  return SymInt::function(kMin, a, b);
}

SymInt max(const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return std::max(a.constant_, b.constant_);
  const SymInt difference = a - b;
  if (difference.is_constant()) return difference.constant_ >= 0 ? a : b;
  return SymInt::function(kMax, a, b);
}

SymInt numel(const SymDims& dims) {
  SymInt count = 1;
  for (const SymInt& size : dims)
    count = count * size;
  return count;
}

SymDims to_sym(const std::vector<int64_t>& dims) { return {dims.begin(), dims.end()}; }

std::vector<int64_t> eval(const SymDims& dims, const SymbolValues& values) {
  std::vector<int64_t> out;
  out.reserve(dims.size());
  for (const SymInt& size : dims)
    out.push_back(size.eval(values));
  return out;
}

std::string to_string(const SymDims& dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) text += ',';
    text += dims[i].str();
  }
  return text + "]";
}

}  // namespace regraft
