#include "lowering/symbolic.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>

#include "base/fail.h"

namespace regraft::lowering {
namespace {

std::optional<SymFloat> as_float(const Symbolic& value) {
  if (const auto* size = std::get_if<SymInt>(&value)) return SymFloat{1.0, *size, 1};
  if (const auto* number = std::get_if<SymFloat>(&value)) return *number;
  if (const auto* flag = std::get_if<bool>(&value)) return SymFloat{*flag ? 1.0 : 0.0, 1, 1};
  return std::nullopt;
}

Symbolic constant(double value) { return SymFloat{value, 1, 1}; }

// Rounds towards minus infinity, which is truncation for sizes (never negative).
Symbolic floor_of(const SymFloat& x) {
  if (x.is_constant()) {
    const double value = std::floor(x.value());
    if (!(std::fabs(value) < 0x1p62)) return {};
    return SymInt(static_cast<int64_t>(value));
  }
  // Factors like 0.5 or 1.25 are fractions of a power of two, so the division is exact.
  double factor = x.factor;
  int64_t scale = 1;
  for (int i = 0; i < 20 && factor != std::floor(factor); ++i) {
    factor *= 2;
    scale *= 2;
  }
  if (factor != std::floor(factor) || std::fabs(factor) > 0x1p40) return {};
  return floordiv(x.numerator * static_cast<int64_t>(factor), x.denominator * scale);
}

Symbolic integer_op(std::string_view op, const SymInt& a, const SymInt& b) {
  if (op == "add") return a + b;
  if (op == "sub") return a - b;
  if (op == "mul") return a * b;
  if (op == "floordiv") return floordiv(a, b);
  if (op == "mod") return mod(a, b);
  if (op == "sym_min") return min(a, b);
  if (op == "sym_max") return max(a, b);
  if (op == "truediv") return SymFloat{1.0, a, b};
  if (op == "pow") {
    if (!b.is_constant() || b.value() < 0 || b.value() > 8) return {};
    SymInt out = 1;
    for (int64_t i = 0; i < b.value(); ++i) {
      out = out * a;
      check_size(out);
    }
    return out;
  }
  if (!a.is_constant() || !b.is_constant()) {
    if (a == b && (op == "eq" || op == "le" || op == "ge")) return true;
    return {};
  }
  const int64_t x = a.value(), y = b.value();
  if (op == "eq") return x == y;
  if (op == "ne") return x != y;
  if (op == "lt") return x < y;
  if (op == "le") return x <= y;
  if (op == "gt") return x > y;
  if (op == "ge") return x >= y;
  return {};
}

Symbolic float_op(std::string_view op, const SymFloat& a, const SymFloat& b) {
  if (op == "mul") {
    return SymFloat{a.factor * b.factor, a.numerator * b.numerator, a.denominator * b.denominator};
  }
  if (op == "truediv" && b.factor != 0) {
    return SymFloat{a.factor / b.factor, a.numerator * b.denominator, a.denominator * b.numerator};
  }
  if (!a.is_constant() || !b.is_constant()) return {};
  const double x = a.value(), y = b.value();
  if (op == "add") return constant(x + y);
  if (op == "sub") return constant(x - y);
  if (op == "pow") return constant(std::pow(x, y));
  if (op == "sym_min") return constant(std::min(x, y));
  if (op == "sym_max") return constant(std::max(x, y));
  return {};
}

Symbolic binary(std::string_view op, const Symbolic& a, const Symbolic& b) {
  const auto* x = std::get_if<SymInt>(&a);
  const auto* y = std::get_if<SymInt>(&b);
  if (x != nullptr && y != nullptr) return integer_op(op, *x, *y);
  const auto p = as_float(a), q = as_float(b);
  if (!p || !q) return {};
  if (op == "floordiv") {
    const Symbolic ratio = float_op("truediv", *p, *q);
    const auto* number = std::get_if<SymFloat>(&ratio);
    if (number == nullptr || !number->is_constant()) return {};
    return constant(std::floor(number->value()));
  }
  return float_op(op, *p, *q);
}

Symbolic unary(std::string_view op, const Symbolic& a) {
  if (const auto* size = std::get_if<SymInt>(&a)) {
    if (op == "neg") return *size * -1;
    if (op == "sym_float") return SymFloat{1.0, *size, 1};
    if (op == "trunc" || op == "floor" || op == "ceil" || op == "sym_int" || op == "pos") {
      return *size;
    }
  }
  if (const auto* flag = std::get_if<bool>(&a); flag != nullptr && op == "sym_not") return !*flag;
  const auto number = as_float(a);
  if (!number) return {};
  const bool truncates = op == "trunc" || op == "sym_int";
  if (truncates && number->is_constant()) return floor_of(SymFloat{std::trunc(number->value())});
  if (truncates || op == "floor") return floor_of(*number);
  if (op == "neg") return SymFloat{-number->factor, number->numerator, number->denominator};
  if (op == "ceil") {
    const Symbolic down = floor_of({-number->factor, number->numerator, number->denominator});
    const auto* size = std::get_if<SymInt>(&down);
    return size == nullptr ? Symbolic{} : Symbolic{*size * -1};
  }
  if ((op == "sqrt" || op == "sym_sqrt" || op == "_sym_sqrt") && number->is_constant()) {
    return constant(std::sqrt(number->value()));
  }
  return {};
}

std::string_view operation(std::string_view target) {
  for (const std::string_view prefix : {"_operator.", "torch.", "math."}) {
    if (target.starts_with(prefix)) return target.substr(prefix.size());
  }
  return "";
}

}  // namespace

double SymFloat::value() const {
  return factor * static_cast<double>(numerator.value()) / static_cast<double>(denominator.value());
}

void check_size(const SymInt& value) {
  constexpr size_t kLongest = 1024;
  if (!value.is_constant() && value.str().size() > kLongest) {
    base::fail("lowering", ErrorCode::OutOfMemory, "a size expression of more than ", kLongest,
               " characters");
  }
}

bool is_symbolic_target(std::string_view target) {
  return target.starts_with("_operator.") || target.starts_with("math.") ||
         target.starts_with("torch.sym_") || target.starts_with("torch._sym_");
}

Symbolic apply_symbolic(std::string_view target, const std::vector<Symbolic>& arguments) {
  const std::string_view op = operation(target);
  Symbolic out;
  if (arguments.size() == 1) out = unary(op, arguments[0]);
  if (arguments.size() == 2) out = binary(op, arguments[0], arguments[1]);
  if (arguments.size() == 3 && op == "sym_ite") {
    if (const auto* flag = std::get_if<bool>(&arguments[0])) out = arguments[*flag ? 1 : 2];
  }
  if (const auto* size = std::get_if<SymInt>(&out)) check_size(*size);
  if (const auto* number = std::get_if<SymFloat>(&out)) {
    check_size(number->numerator);
    check_size(number->denominator);
  }
  return out;
}

}  // namespace regraft::lowering
