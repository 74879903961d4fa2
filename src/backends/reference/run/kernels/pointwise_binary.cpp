#include <algorithm>
#include <cmath>

#include "backends/reference/run/rows.h"
#include "tensor/promotion.h"

namespace regraft::reference {
namespace {

// Integers wrap around; signed overflow would be undefined.
template <typename C, typename F>
C wrapping(C a, C b, F f) {
  if constexpr (std::is_same_v<C, int64_t>) {
    return static_cast<C>(f(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  } else {
    return f(a, b);
  }
}

void check_divisor(int64_t divisor) {
  if (divisor == 0) base::fail("engine", ErrorCode::InvalidArgument, "integer division by zero");
}

// INT64_MIN / -1 overflows; it wraps to itself.
int64_t quotient(int64_t a, int64_t b) {
  check_divisor(b);
  return b == -1 ? static_cast<int64_t>(-static_cast<uint64_t>(a)) : a / b;
}
int64_t rest(int64_t a, int64_t b) {
  check_divisor(b);
  return b == -1 ? 0 : a % b;
}

template <typename C>
bool is_nan(C x) {
  return x != x;
}

struct Add {
  template <typename C>
  static C of(C a, C b) {
    return wrapping(a, b, [](auto x, auto y) { return x + y; });
  }
};
struct Sub {
  template <typename C>
  static C of(C a, C b) {
    return wrapping(a, b, [](auto x, auto y) { return x - y; });
  }
};
struct Mul {
  template <typename C>
  static C of(C a, C b) {
    return wrapping(a, b, [](auto x, auto y) { return x * y; });
  }
};
struct Div {
  template <typename C>
  static C of(C a, C b) {
    return a / b;
  }
};
struct Minimum {
  template <typename C>
  static C of(C a, C b) {
    return is_nan(a) || a < b ? a : b;
  }
};
struct Maximum {
  template <typename C>
  static C of(C a, C b) {
    return is_nan(a) || a > b ? a : b;
  }
};
struct Fmod {
  static int64_t of(int64_t a, int64_t b) { return rest(a, b); }
  static double of(double a, double b) { return std::fmod(a, b); }
};
// Sign of the divisor, as in Python.
struct Remainder {
  static int64_t of(int64_t a, int64_t b) {
    const int64_t r = rest(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
  }
  static double of(double a, double b) {
    const double r = std::fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
  }
};
struct Pow {
  static int64_t of(int64_t base, int64_t exponent) {
    if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
    int64_t result = 1;
    for (; exponent > 0; exponent >>= 1, base = Mul::of(base, base)) {
      if (exponent & 1) result = Mul::of(result, base);
    }
    return result;
  }
  static double of(double a, double b) { return std::pow(a, b); }
};
// PyTorch takes square roots for the numbers 0.5 and -0.5, which differ from pow at -inf and -0.
struct SquareRoot {
  static double of(double a, double b) { return b > 0 ? std::sqrt(a) : 1 / std::sqrt(a); }
};
struct Atan2 {
  static double of(double a, double b) { return std::atan2(a, b); }
};
struct TruncDiv {
  static int64_t of(int64_t a, int64_t b) { return quotient(a, b); }
  static double of(double a, double b) { return std::trunc(a / b); }
};
// For f32 and narrower types the quotient is rounded to f32 before it is truncated.
struct TruncDivF32 {
  static double of(double a, double b) { return std::trunc(static_cast<float>(a / b)); }
};
// As Python's //: the largest whole number whose product with b does not pass a, up to rounding.
struct FloorDiv {
  static int64_t of(int64_t a, int64_t b) {
    const int64_t q = quotient(a, b);
    return rest(a, b) != 0 && (a < 0) != (b < 0) ? q - 1 : q;
  }
  static double of(double a, double b) {
    if (b == 0) return a / b;
    const double r = std::fmod(a, b);
    double q = (a - r) / b;
    if (r != 0 && (b < 0) != (r < 0)) q -= 1;
    if (q == 0) return std::copysign(0.0, a / b);
    const double whole = std::floor(q);
    return q - whole > 0.5 ? whole + 1 : whole;
  }
};
struct BitwiseAnd {
  static int64_t of(int64_t a, int64_t b) { return a & b; }
};
struct BitwiseOr {
  static int64_t of(int64_t a, int64_t b) { return a | b; }
};
struct BitwiseXor {
  static int64_t of(int64_t a, int64_t b) { return a ^ b; }
};
struct Eq {
  template <typename C>
  static int64_t of(C a, C b) {
    return a == b;
  }
};
struct Ne {
  template <typename C>
  static int64_t of(C a, C b) {
    return a != b;
  }
};
struct Lt {
  template <typename C>
  static int64_t of(C a, C b) {
    return a < b;
  }
};
struct Le {
  template <typename C>
  static int64_t of(C a, C b) {
    return a <= b;
  }
};
struct LogicalAnd {
  template <typename C>
  static int64_t of(C a, C b) {
    return a != C(0) && b != C(0);
  }
};
struct LogicalOr {
  template <typename C>
  static int64_t of(C a, C b) {
    return a != C(0) || b != C(0);
  }
};
struct LogicalXor {
  template <typename C>
  static int64_t of(C a, C b) {
    return (a != C(0)) != (b != C(0));
  }
};

template <typename F, typename Out, typename In>
void run(const Call& call, const Operands& operands) {
  map<Out, In>(call.out(0), operands.sources, [](const In* const* rows, Out* out, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      out[i] = F::of(rows[0][i], rows[1][i]);
  });
}

Operands both(const Call& call) { return operands_of(call, {{0, "scalar"}, {1, "scalar"}}); }

template <typename F>
void real(const Call& call, const Operands& operands) {
  is_floating(operands.common) ? run<F, double, double>(call, operands)
                               : run<F, int64_t, int64_t>(call, operands);
}

template <typename F>
void real(const Call& call) {
  real<F>(call, both(call));
}

template <typename F>
void any_dtype(const Call& call, const Operands& operands) {
  visit_compute(operands.common,
                [&](auto tag) { run<F, decltype(tag), decltype(tag)>(call, operands); });
}

template <typename F>
void any_dtype(const Call& call) {
  any_dtype<F>(call, both(call));
}

template <typename F>
void integral(const Call& call) {
  run<F, int64_t, int64_t>(call, both(call));
}

template <typename F>
void equality(const Call& call) {
  const Operands operands = both(call);
  visit_compute(operands.common, [&](auto tag) { run<F, int64_t, decltype(tag)>(call, operands); });
}

template <typename F>
void comparison(const Call& call) {
  const Operands operands = both(call);
  is_floating(operands.common) ? run<F, int64_t, double>(call, operands)
                               : run<F, int64_t, int64_t>(call, operands);
}

// a > b is b < a.
template <typename F>
void swapped_comparison(const Call& call) {
  Operands operands = both(call);
  std::swap(operands.sources[0], operands.sources[1]);
  is_floating(operands.common) ? run<F, int64_t, double>(call, operands)
                               : run<F, int64_t, int64_t>(call, operands);
}

// PyTorch multiplies and divides 16-bit floats by a number or 0-d tensor that it keeps in f32.
void keep_number_wide(Operands& operands) {
  Source& y = operands.sources[1];
  const bool narrow = operands.common == DType::F16 || operands.common == DType::BF16;
  if (narrow && y.view.dims.empty() && !operands.sources[0].view.dims.empty()) {
    y.through = DType::F32;
  }
}

void mul(const Call& call) {
  Operands operands = both(call);
  keep_number_wide(operands);
  any_dtype<Mul>(call, operands);
}

void div(const Call& call) {
  Operands operands = both(call);
  keep_number_wide(operands);
  if (!call.attributes().is_none("rounding")) {
    const bool floor = call.attributes().text("rounding") == "floor";
    if (floor) return real<FloorDiv>(call, operands);
    if (!is_floating(operands.common)) return run<TruncDiv, int64_t, int64_t>(call, operands);
    return operands.common == DType::F64 ? run<TruncDiv, double, double>(call, operands)
                                         : run<TruncDivF32, double, double>(call, operands);
  }
  if (is_complex(operands.common)) {
    return run<Div, std::complex<double>, std::complex<double>>(call, operands);
  }
  for (Source& source : operands.sources)
    source.through = floating_of(source.through);
  run<Div, double, double>(call, operands);
}

void pow(const Call& call) {
  const bool number = call.has(0) && !call.has(1);
  const bool root = number && std::fabs(call.attributes().number("scalar")) == 0.5;
  root ? run<SquareRoot, double, double>(call, both(call)) : real<Pow>(call);
}

void atan2(const Call& call) {
  Operands operands = both(call);
  for (Source& source : operands.sources)
    source.through = floating_of(source.through);
  run<Atan2, double, double>(call, operands);
}

constexpr KernelDef kKernels[] = {
    {"add", any_dtype<Add>},
    {"sub", any_dtype<Sub>},
    {"mul", mul},
    {"div", div},
    {"pow", pow},
    {"minimum", real<Minimum>},
    {"maximum", real<Maximum>},
    {"fmod", real<Fmod>},
    {"remainder", real<Remainder>},
    {"atan2", atan2},
    {"eq", equality<Eq>},
    {"ne", equality<Ne>},
    {"lt", comparison<Lt>},
    {"le", comparison<Le>},
    {"gt", swapped_comparison<Lt>},
    {"ge", swapped_comparison<Le>},
    {"logical_and", equality<LogicalAnd>},
    {"logical_or", equality<LogicalOr>},
    {"logical_xor", equality<LogicalXor>},
    {"bitwise_and", integral<BitwiseAnd>},
    {"bitwise_or", integral<BitwiseOr>},
    {"bitwise_xor", integral<BitwiseXor>},
};

}  // namespace

extern const KernelFile k_kernels_pointwise_binary;
const KernelFile k_kernels_pointwise_binary = kKernels;

}  // namespace regraft::reference
