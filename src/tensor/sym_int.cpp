#include "tensor/sym_int.h"

#include <algorithm>
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
  return b == -1 ? 0 : a - floor_division(a, b) * b;
}

enum Kind { kSymbol, kFloorDiv, kMod, kMin, kMax };
constexpr std::string_view kKindNames[] = {"", "floordiv", "mod", "min", "max"};

int64_t apply(int kind, int64_t a, int64_t b) {
  switch (kind) {
    case kFloorDiv: return floor_division(a, b);
    case kMod: return floor_remainder(a, b);
    case kMin: return std::min(a, b);
    default: return std::max(a, b);
  }
}

}  // namespace

struct SymInt::Atom {
  int kind;
  std::string text;  // Symbol name or printed function.
  SymInt a, b;
};

struct SymInt::Term {
  int64_t coefficient = 0;
  std::vector<std::shared_ptr<const Atom>> factors;  // Sorted by text.
};

// Keyed by the joined factor texts; the empty key is the constant term.
struct SymInt::Terms : std::map<std::string, Term> {
  void add(int64_t coefficient, std::vector<std::shared_ptr<const Atom>> factors) {
    std::string key;
    for (const auto& factor : factors) key += factor->text + "*";
    Term& term = (*this)[key];
    term.coefficient = checked_add(term.coefficient, coefficient);
    term.factors = std::move(factors);
    if (term.coefficient == 0) erase(key);
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
  Terms terms;
  terms.add(1, {std::make_shared<const Atom>(Atom{kSymbol, std::string(name), {}, {}})});
  return from_terms(std::move(terms));
}

SymInt SymInt::function(int kind, const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return apply(kind, a.constant_, b.constant_);
  Terms terms;
  std::string text =
      std::string(kKindNames[kind]) + "(" + a.str() + "," + b.str() + ")";
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
  std::string text;
  std::string constant;
  for (const auto& [key, term] : *terms_) {
    if (term.factors.empty()) {
      constant = (term.coefficient > 0 ? "+" : "") + std::to_string(term.coefficient);
      continue;
    }
    if (!text.empty() && term.coefficient > 0) text += '+';
    if (term.coefficient == -1) {
      text += '-';
    }
    for (size_t i = 0; i < term.factors.size(); ++i) {
      if (i > 0) text += '*';
      text += term.factors[i]->text;
    }
    if (term.coefficient != 1 && term.coefficient != -1) {
      // The coefficient stands last ("s0*16"); a negative one must lead to parse as one term.
      const size_t at = text.size();
      std::string factors;
      for (const auto& factor : term.factors) factors += (factors.empty() ? "" : "*") + factor->text;
      text.resize(at - factors.size());
      text += term.coefficient < 0 ? std::to_string(term.coefficient) + "*" + factors
                                   : factors + "*" + std::to_string(term.coefficient);
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
        product = checked_mul(
            product, apply(factor->kind, factor->a.eval(values), factor->b.eval(values)));
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
  for (const auto& [key, term] : SymInt::to_terms(b)) terms.add(term.coefficient, term.factors);
  return SymInt::from_terms(std::move(terms));
}

SymInt operator-(const SymInt& a, const SymInt& b) { return a + b * -1; }

SymInt operator*(const SymInt& a, const SymInt& b) {
  if (a.is_constant() && b.is_constant()) return checked_mul(a.constant_, b.constant_);
  SymInt::Terms terms;
  const SymInt::Terms right = SymInt::to_terms(b);
  for (const auto& [left_key, x] : SymInt::to_terms(a)) {
    for (const auto& [right_key, y] : right) {
      auto factors = x.factors;
      factors.insert(factors.end(), y.factors.begin(), y.factors.end());
      std::stable_sort(factors.begin(), factors.end(),
                       [](const auto& p, const auto& q) { return p->text < q->text; });
      terms.add(checked_mul(x.coefficient, y.coefficient), std::move(factors));
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

// Divides every term by the single term `by`, where each has its factors and its coefficient.
bool SymInt::try_exact_division(const SymInt& by, SymInt& quotient) const {
  const Terms divisor = to_terms(by);
  if (divisor.size() != 1) {
    quotient = 1;
    return *this == by;
  }
  const Term& d = divisor.begin()->second;
  Terms out;
  for (const auto& [key, term] : to_terms(*this)) {
    if (floor_remainder(term.coefficient, d.coefficient) != 0) return false;
    auto factors = term.factors;
    for (const auto& factor : d.factors) {
      const auto found = std::find_if(factors.begin(), factors.end(),
                                      [&](const auto& f) { return f->text == factor->text; });
      if (found == factors.end()) return false;
      factors.erase(found);
    }
    out.add(term.coefficient / d.coefficient, std::move(factors));
  }
  quotient = from_terms(std::move(out));
  return true;
}

SymInt floordiv(const SymInt& a, const SymInt& b) {
  SymInt quotient;
  if (b == SymInt(0)) base::fail("shape", ErrorCode::InvalidArgument, "division by zero");
  if (a.try_exact_division(b, quotient)) return quotient;
  return SymInt::function(kFloorDiv, a, b);
}

SymInt mod(const SymInt& a, const SymInt& b) {
  SymInt quotient;
  if (b == SymInt(0)) base::fail("shape", ErrorCode::InvalidArgument, "division by zero");
  if (a.try_exact_division(b, quotient)) return 0;
  return SymInt::function(kMod, a, b);
}

SymInt min(const SymInt& a, const SymInt& b) {
  const SymInt difference = a - b;
  if (difference.is_constant()) return difference.constant_ <= 0 ? a : b;
  return SymInt::function(kMin, a, b);
}

SymInt max(const SymInt& a, const SymInt& b) {
  const SymInt difference = a - b;
  if (difference.is_constant()) return difference.constant_ >= 0 ? a : b;
  return SymInt::function(kMax, a, b);
}

namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  SymInt parse() {
    const SymInt value = sum();
    if (at_ != text_.size()) fail();
    return value;
  }

 private:
  [[noreturn]] void fail() const {
    base::fail("shape", ErrorCode::InvalidArgument, "not a size expression: '",
               text_.substr(0, 200), "' (at character ", at_, ")");
  }

  bool take(std::string_view token) {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
    return true;
  }

  SymInt sum() {
    if (++depth_ > 64) fail();
    SymInt value = product();
    while (true) {
      if (take("+")) {
        value = value + product();
      } else if (take("-")) {
        value = value - product();
      } else {
        --depth_;
        return value;
      }
    }
  }

  SymInt product() {
    SymInt value = atom();
    while (true) {
      if (take("//")) {
        value = floordiv(value, atom());
      } else if (take("*")) {
        value = value * atom();
      } else {
        return value;
      }
    }
  }

  SymInt atom() {
    bool negative = false;
    while (take("-")) negative = !negative;
    return negative ? unsigned_atom() * -1 : unsigned_atom();
  }

  SymInt unsigned_atom() {
    if (take("(")) {
      const SymInt value = sum();
      if (!take(")")) fail();
      return value;
    }
    if (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') return number();
    const std::string_view word = identifier();
    for (int kind = kFloorDiv; kind <= kMax; ++kind) {
      if (word == kKindNames[kind] && take("(")) {
        const SymInt a = sum();
        if (!take(",")) fail();
        const SymInt b = sum();
        if (!take(")")) fail();
        return kind == kFloorDiv ? floordiv(a, b)
               : kind == kMod    ? mod(a, b)
               : kind == kMin    ? min(a, b)
                                 : max(a, b);
      }
    }
    return SymInt::symbol(word);
  }

  SymInt number() {
    int64_t value = 0;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      value = checked_add(checked_mul(value, 10), text_[at_++] - '0');
    }
    return value;
  }

  std::string_view identifier() {
    const size_t begin = at_;
    const auto is_word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    if (begin == at_) fail();
    return text_.substr(begin, at_ - begin);
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

SymInt SymInt::parse(std::string_view text) { return Parser(text).parse(); }

SymInt numel(const SymDims& dims) {
  SymInt count = 1;
  for (const SymInt& size : dims) count = count * size;
  return count;
}

SymDims to_sym(const std::vector<int64_t>& dims) { return {dims.begin(), dims.end()}; }

std::vector<int64_t> eval(const SymDims& dims, const SymbolValues& values) {
  std::vector<int64_t> out;
  out.reserve(dims.size());
  for (const SymInt& size : dims) out.push_back(size.eval(values));
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
