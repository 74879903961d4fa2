#include <cmath>

#include "backends/reference/run/lines.h"

namespace regraft::reference {
namespace {

// A reducer sees the elements of one line in order: add(x) each, then result().

template <typename C>
struct Sum {
  C total{};
  void add(C x) {
    if constexpr (std::is_same_v<C, int64_t>) {
      total = static_cast<int64_t>(static_cast<uint64_t>(total) + static_cast<uint64_t>(x));
    } else {
      total += x;
    }
  }
  C result() const { return total; }
};

template <typename C>
struct Mean {
  C total{};
  double count = 0;
  void add(C x) {
    total += x;
    count += 1;
  }
  C result() const { return total / count; }
};

template <typename C>
struct Prod {
  C total = 1;
  void add(C x) {
    if constexpr (std::is_same_v<C, int64_t>) {
      total = static_cast<int64_t>(static_cast<uint64_t>(total) * static_cast<uint64_t>(x));
    } else {
      total *= x;
    }
  }
  C result() const { return total; }
};

// NaN wins.
template <bool kMax>
struct Extremum {
  template <typename C>
  struct Of {
    C best{};
    bool any = false;
    void add(C x) {
      if (!any || x != x || (kMax ? x > best : x < best)) best = best != best ? best : x;
      any = true;
    }
    C result() const { return best; }
  };
};

template <bool kAny>
struct Truth {
  template <typename C>
  struct Of {
    bool truth = !kAny;
    void add(C x) { truth = kAny ? truth || x != C(0) : truth && x != C(0); }
    int64_t result() const { return truth; }
  };
};

// Welford's recurrence.
struct Variance {
  double correction = 1, count = 0, mean = 0, squares = 0;
  void add(double x) {
    count += 1;
    const double delta = x - mean;
    mean += delta / count;
    squares += delta * (x - mean);
  }
  double result() const { return squares / std::max(0.0, count - correction); }
};

struct Norm {
  double ord = 2;
  double total = 0;
  bool any = false;
  void add(double x) {
    const double magnitude = std::fabs(x);
    if (std::isinf(ord)) {
      const bool better = ord > 0 ? magnitude > total : magnitude < total;
      if (!any || std::isnan(magnitude) || better) {
        total = std::isnan(total) ? total : magnitude;
      }
    } else if (ord == 0) {
      total += x != 0;
    } else {
      total += ord == 2 ? x * x : ord == 1 ? magnitude : std::pow(magnitude, ord);
    }
    any = true;
  }
  double result() const {
    if (std::isinf(ord) || ord == 0 || ord == 1) return total;
    return ord == 2 ? std::sqrt(total) : std::pow(total, 1 / ord);
  }
};

// log(sum(exp(x - greatest))) + greatest, where the greatest may be replaced on the way.
struct LogSumExp {
  double greatest = -INFINITY, sum = 0;
  void add(double x) {
    if (x == -INFINITY) return;
    if (x > greatest) {
      sum = x == INFINITY ? sum : sum * std::exp(greatest - x);
      greatest = x;
    }
    sum += x == greatest ? 1 : std::exp(x - greatest);
  }
  double result() const { return sum == 0 ? -INFINITY : std::log(sum) + greatest; }
};

// Folds every line of the input, read as `through`, into a copy of `start`.
template <typename In, typename Reducer>
void fold(const Call& call, DType through, const Reducer& start) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  const Lines lines(x, reduced_axes(call));
  for_each_position(lines.kept_dims(), {lines.kept_strides(), lines.kept_strides_of(out)},
                    lines.length(), [&](const int64_t* offsets) {
                      Reducer reducer = start;
                      In row[kRow];
                      lines.for_each_piece(offsets[0],
                                           [&](int64_t offset, int64_t step, int64_t count) {
                                             load_row(x, offset, step, count, row);
                                             if (x.dtype != through) round_row(row, count, through);
                                             for (int64_t i = 0; i < count; ++i)
                                               reducer.add(row[i]);
                                           });
                      store(out, offsets[1], reducer.result());
                    });
}

// The elements are cast to the result's dtype before they are added up, as in PyTorch.
template <template <typename> class Reducer>
void total(const Call& call) {
  const DType dtype = call.out(0).dtype;
  visit_compute(dtype, [&](auto tag) {
    using C = decltype(tag);
    fold<C>(call, dtype, Reducer<C>{});
  });
}

void mean(const Call& call) {
  if (is_complex(call.out(0).dtype)) {
    return fold<std::complex<double>>(call, call.out(0).dtype, Mean<std::complex<double>>{});
  }
  fold<double>(call, call.out(0).dtype, Mean<double>{});
}

template <template <typename> class Reducer>
void extremum(const Call& call) {
  const DType dtype = call.in(0).dtype;
  if (is_floating(dtype)) return fold<double>(call, dtype, Reducer<double>{});
  fold<int64_t>(call, dtype, Reducer<int64_t>{});
}

template <template <typename> class Reducer>
void truth(const Call& call) {
  const DType dtype = call.in(0).dtype;
  visit_compute(dtype, [&](auto tag) {
    using C = decltype(tag);
    fold<C>(call, dtype, Reducer<C>{});
  });
}

void variance(const Call& call) {
  Variance start;
  start.correction = call.attributes().number("correction");
  fold<double>(call, call.in(0).dtype, start);
}

void norm(const Call& call) {
  Norm start;
  start.ord = call.attributes().number("ord");
  fold<double>(call, call.out(0).dtype, start);
}

void logsumexp(const Call& call) { fold<double>(call, call.out(0).dtype, LogSumExp{}); }

constexpr KernelDef kKernels[] = {
    {"sum", total<Sum>},
    {"mean", mean},
    {"prod", total<Prod>},
    {"amax", extremum<Extremum<true>::Of>},
    {"amin", extremum<Extremum<false>::Of>},
    {"any", truth<Truth<true>::Of>},
    {"all", truth<Truth<false>::Of>},
    {"var", variance},
    {"norm", norm},
    {"logsumexp", logsumexp},
};

}  // namespace

extern const KernelFile k_kernels_reduce;
const KernelFile k_kernels_reduce = kKernels;

}  // namespace regraft::reference
