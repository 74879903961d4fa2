#include "program/srepr.h"

#include <vector>

#include "base/cursor.h"
#include "regraft/error.h"

namespace regraft::program {
namespace {

constexpr int kDepth = 64;
constexpr size_t kTerms = 256;
constexpr int64_t kPower = 8;

// Thrown inside this file only.
struct NotRepresentable {};

// numerator / denominator; terms bounds the terms of the numerator before they are merged, so that
// a small text cannot ask for a huge polynomial.
struct Ratio {
  SymInt numerator;
  int64_t denominator = 1;
  size_t terms = 1;
};

int64_t multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) throw NotRepresentable{};
  return product;
}

Ratio times(const Ratio& a, const Ratio& b) {
  Ratio out;
  out.terms = a.terms * b.terms;
  if (out.terms > kTerms) throw NotRepresentable{};
  out.numerator = a.numerator * b.numerator;
  out.denominator = multiply(a.denominator, b.denominator);
  return out;
}

Ratio plus(const Ratio& a, const Ratio& b) {
  Ratio out;
  out.terms = a.terms + b.terms;
  if (out.terms > kTerms) throw NotRepresentable{};
  if (a.denominator == b.denominator) {
    out.numerator = a.numerator + b.numerator;
    out.denominator = a.denominator;
  } else {
    out.numerator = a.numerator * b.denominator + b.numerator * a.denominator;
    out.denominator = multiply(a.denominator, b.denominator);
  }
  return out;
}

// The expression is an integer by construction of the program, so the division is exact.
Ratio whole(const Ratio& x) {
  if (x.denominator == 1) return x;
  return {floordiv(x.numerator, x.denominator), 1, x.terms};
}

class Parser final : base::Cursor {
 public:
  explicit Parser(std::string_view text) : Cursor(text) {}

  SymInt parse() {
    const Ratio value = expression();
    if (!at_end()) fail();
    return whole(value).numerator;
  }

 private:
  [[noreturn]] void fail() const override { throw NotRepresentable{}; }

  // Symbol('s0', positive=True, integer=True)
  Ratio symbol() {
    expect("'");
    const std::string_view name = word();
    expect("'");
    while (take(",")) {
      word();
      expect("=");
      word();
    }
    expect(")");
    return {SymInt::symbol(name)};
  }

  std::vector<Ratio> arguments() {
    std::vector<Ratio> out;
    while (!take(")")) {
      out.push_back(expression());
      if (!take(",")) {
        expect(")");
        break;
      }
    }
    return out;
  }

  Ratio expression() {
    if (++depth_ > kDepth) fail();
    const std::string_view head = word();
    expect("(");
    Ratio value;
    if (head == "Symbol") {
      value = symbol();
    } else if (head == "Integer") {
      value = {SymInt(integer())};
      expect(")");
    } else if (head == "Rational") {
      const int64_t numerator = integer();
      expect(",");
      const int64_t denominator = integer();
      expect(")");
      if (denominator <= 0) fail();
      value = {SymInt(numerator), denominator, 1};
    } else {
      value = function(head, arguments());
    }
    --depth_;
    return value;
  }

  static Ratio power(const Ratio& base, const Ratio& exponent) {
    if (!exponent.numerator.is_constant() || exponent.denominator != 1) throw NotRepresentable{};
    const int64_t n = exponent.numerator.value();
    if (n < 0 || n > kPower) throw NotRepresentable{};
    Ratio out{SymInt(1)};
    for (int64_t i = 0; i < n; ++i)
      out = times(out, base);
    return out;
  }

  static Ratio binary(std::string_view head, const Ratio& x, const Ratio& y) {
    const SymInt a = whole(x).numerator;
    const SymInt b = whole(y).numerator;
    if (head == "Mod" || head == "PythonMod") return {mod(a, b)};
    return {floordiv(a, b)};
  }

  static Ratio function(std::string_view head, const std::vector<Ratio>& args) {
    if (args.empty()) throw NotRepresentable{};
    Ratio out = args[0];
    if (head == "Add" || head == "Mul") {
      for (size_t i = 1; i < args.size(); ++i) {
        out = head == "Add" ? plus(out, args[i]) : times(out, args[i]);
      }
      return out;
    }
    if (head == "Min" || head == "Max") {
      SymInt value = whole(out).numerator;
      for (size_t i = 1; i < args.size(); ++i) {
        const SymInt other = whole(args[i]).numerator;
        value = head == "Min" ? min(value, other) : max(value, other);
      }
      return {value};
    }
    // IntTrueDiv stands under TruncToInt or FloorToInt; sizes are not negative.
    if (args.size() == 1 && (head == "TruncToInt" || head == "FloorToInt" || head == "ToFloat")) {
      return out;
    }
    if (args.size() != 2) throw NotRepresentable{};
    if (head == "Pow" || head == "PowByNatural") return power(args[0], args[1]);
    if (head == "FloorDiv" || head == "CleanDiv" || head == "IntTrueDiv" || head == "Mod" ||
        head == "PythonMod") {
      return binary(head, args[0], args[1]);
    }
    throw NotRepresentable{};
  }

  int depth_ = 0;
};

bool is_srepr(std::string_view text) {
  return text.find('\'') != std::string_view::npos || text.substr(0, 8) == "Integer(";
}

}  // namespace

std::optional<SymInt> try_parse_expression(std::string_view text) {
  constexpr size_t kLongest = 16384;
  if (text.size() > kLongest) return std::nullopt;
  try {
    return is_srepr(text) ? Parser(text).parse() : SymInt::parse(text);
  } catch (const NotRepresentable&) {
    return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;  // Overflow, division by zero.
  }
}

}  // namespace regraft::program
