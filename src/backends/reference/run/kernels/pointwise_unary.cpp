#include <cmath>

#include "backends/reference/run/rows.h"
#include "tensor/promotion.h"

namespace regraft::reference {
namespace {

using Complex = std::complex<double>;

Source input(const Call& call, DType through) { return {call.in(0), through}; }
Source input(const Call& call) { return input(call, call.in(0).dtype); }

// out[i] = f(in[i]), calculated in Out and In.
template <typename Out, typename In, typename F>
void each(const Call& call, const Source& source, F f) {
  map<Out, In>(call.out(0), {source}, [f](const In* const* rows, Out* out, int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      out[i] = f(rows[0][i]);
  });
}

// A function of real numbers; integers are read as f32.
template <auto F>
void fraction(const Call& call) {
  each<double, double>(call, input(call, floating_of(call.in(0).dtype)), F);
}

// A function that is the identity on integers.
template <auto F>
void rounding(const Call& call) {
  if (is_floating(call.in(0).dtype)) return each<double, double>(call, input(call), F);
  each<int64_t, int64_t>(call, input(call), [](int64_t x) { return x; });
}

// A function given for each compute type by one generic lambda.
template <auto F>
void real(const Call& call) {
  is_floating(call.in(0).dtype) ? each<double, double>(call, input(call), F)
                                : each<int64_t, int64_t>(call, input(call), F);
}

template <auto F>
void any_dtype(const Call& call) {
  visit_compute(call.in(0).dtype,
                [&](auto tag) { each<decltype(tag), decltype(tag)>(call, input(call), F); });
}

template <auto F>
void predicate(const Call& call) {
  visit_compute(call.in(0).dtype,
                [&](auto tag) { each<int64_t, decltype(tag)>(call, input(call), F); });
}

void abs(const Call& call) {
  if (is_complex(call.in(0).dtype)) {
    return each<double, Complex>(call, input(call), [](Complex x) { return std::abs(x); });
  }
  real<[](auto x) {
    if constexpr (std::is_same_v<decltype(x), double>) return std::fabs(x);
    return x < 0 ? decltype(x)(0) - x : x;
  }>(call);
}

template <typename C>
C reciprocal_of(C x) {
  return C(1) / x;
}

template <auto Real, auto OfComplex>
void fraction_or_complex(const Call& call) {
  if (is_complex(call.in(0).dtype)) return each<Complex, Complex>(call, input(call), OfComplex);
  fraction<Real>(call);
}

void gelu(const Call& call) {
  if (call.attributes().text("approximate") == "tanh") {
    return fraction<[](double x) {
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    }>(call);
  }
  fraction<[](double x) { return 0.5 * x * (1 + std::erf(x * M_SQRT1_2)); }>(call);
}

double relu6(double x) { return x < 0 ? 0 : x > 6 ? 6 : x; }

void hardtanh(const Call& call) {
  // The bounds take the input's dtype, as in PyTorch.
  const Tensor min = number_tensor(*call.attributes().find("min"));
  const Tensor max = number_tensor(*call.attributes().find("max"));
  const auto clamp = [&](auto tag) {
    using C = decltype(tag);
    C low = load<C>(min.view(), 0), high = load<C>(max.view(), 0);
    round_row(&low, 1, call.in(0).dtype);
    round_row(&high, 1, call.in(0).dtype);
    each<C, C>(call, input(call), [=](C x) { return x < low ? low : x > high ? high : x; });
  };
  is_floating(call.in(0).dtype) ? clamp(double{}) : clamp(int64_t{});
}

void leaky_relu(const Call& call) {
  const double slope = call.attributes().number("slope");
  each<double, double>(call, input(call), [=](double x) { return x > 0 ? x : x * slope; });
}

void elu(const Call& call) {
  const double alpha = call.attributes().number("alpha");
  each<double, double>(call, input(call),
                       [=](double x) { return x <= 0 ? alpha * std::expm1(x) : x; });
}

void bitwise_not(const Call& call) {
  if (call.in(0).dtype == DType::Bool) {
    return each<int64_t, int64_t>(call, input(call), [](int64_t x) { return !x; });
  }
  each<int64_t, int64_t>(call, input(call), [](int64_t x) { return ~x; });
}

// Generic lambdas see int64_t, double or, where the op takes it, complex<double>.
constexpr auto kNeg = [](auto x) {
  if constexpr (std::is_same_v<decltype(x), int64_t>) {
    return static_cast<int64_t>(-static_cast<uint64_t>(x));
  } else {
    return -x;
  }
};
constexpr auto kSquare = [](auto x) {
  if constexpr (std::is_same_v<decltype(x), int64_t>) {
    return static_cast<int64_t>(static_cast<uint64_t>(x) * static_cast<uint64_t>(x));
  } else {
    return x * x;
  }
};
constexpr auto kSign = [](auto x) { return decltype(x)((x > 0) - (x < 0)); };
constexpr auto kRelu = [](auto x) { return x < 0 ? decltype(x)(0) : x; };
constexpr auto kIsNan = [](auto x) { return int64_t{x != x}; };
constexpr auto kIsInf = [](auto x) {
  if constexpr (std::is_same_v<decltype(x), Complex>) {
    return int64_t{std::isinf(x.real()) || std::isinf(x.imag())};
  } else {
    return int64_t{std::isinf(static_cast<double>(x))};
  }
};
// Linear above PyTorch's threshold of 20.
constexpr auto kSoftplus = [](double x) { return x > 20 ? x : std::log1p(std::exp(x)); };
constexpr auto kNot = [](auto x) { return int64_t{x == decltype(x)(0)}; };

constexpr KernelDef kKernels[] = {
    {"neg", any_dtype<kNeg>},
    {"abs", abs},
    {"sign", real<kSign>},
    {"square", any_dtype<kSquare>},
    {"floor", rounding<[](double x) { return std::floor(x); }>},
    {"ceil", rounding<[](double x) { return std::ceil(x); }>},
    {"round", rounding<[](double x) { return std::nearbyint(x); }>},  // Half to even.
    {"trunc", rounding<[](double x) { return std::trunc(x); }>},
    {"reciprocal", fraction_or_complex<reciprocal_of<double>, reciprocal_of<Complex>>},
    {"exp", fraction_or_complex<[](double x) { return std::exp(x); },
                                [](Complex x) { return std::exp(x); }>},
    {"expm1", fraction<[](double x) { return std::expm1(x); }>},
    {"log", fraction<[](double x) { return std::log(x); }>},
    {"log2", fraction<[](double x) { return std::log2(x); }>},
    {"log10", fraction<[](double x) { return std::log10(x); }>},
    {"log1p", fraction<[](double x) { return std::log1p(x); }>},
    {"sqrt", fraction<[](double x) { return std::sqrt(x); }>},
    {"rsqrt", fraction<[](double x) { return 1 / std::sqrt(x); }>},
    {"sin", fraction<[](double x) { return std::sin(x); }>},
    {"cos", fraction<[](double x) { return std::cos(x); }>},
    {"tan", fraction<[](double x) { return std::tan(x); }>},
    {"asin", fraction<[](double x) { return std::asin(x); }>},
    {"acos", fraction<[](double x) { return std::acos(x); }>},
    {"atan", fraction<[](double x) { return std::atan(x); }>},
    {"sinh", fraction<[](double x) { return std::sinh(x); }>},
    {"cosh", fraction<[](double x) { return std::cosh(x); }>},
    {"tanh", fraction<[](double x) { return std::tanh(x); }>},
    {"asinh", fraction<[](double x) { return std::asinh(x); }>},
    {"acosh", fraction<[](double x) { return std::acosh(x); }>},
    {"atanh", fraction<[](double x) { return std::atanh(x); }>},
    {"erf", fraction<[](double x) { return std::erf(x); }>},
    {"sigmoid", fraction<[](double x) { return 1 / (1 + std::exp(-x)); }>},
    {"relu", real<kRelu>},
    {"silu", fraction<[](double x) { return x / (1 + std::exp(-x)); }>},
    {"gelu", gelu},
    {"hardswish", fraction<[](double x) { return x * relu6(x + 3) / 6; }>},
    {"hardsigmoid", fraction<[](double x) { return relu6(x + 3) / 6; }>},
    {"hardtanh", hardtanh},
    {"leaky_relu", leaky_relu},
    {"elu", elu},
    {"softplus", fraction<kSoftplus>},
    {"mish", fraction<[](double x) { return x * std::tanh(std::log1p(std::exp(x))); }>},
    {"logical_not", predicate<kNot>},
    {"bitwise_not", bitwise_not},
    {"isnan", predicate<kIsNan>},
    {"isinf", predicate<kIsInf>},
};

}  // namespace

extern const KernelFile k_kernels_pointwise_unary;
const KernelFile k_kernels_pointwise_unary = kKernels;

}  // namespace regraft::reference
