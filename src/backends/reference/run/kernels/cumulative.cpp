#include "backends/reference/run/lines.h"

namespace regraft::reference {
namespace {

struct Plus {
  static constexpr int kStart = 0;
  template <typename C>
  static C of(C a, C b) {
    return a + b;
  }
};
struct Times {
  static constexpr int kStart = 1;
  template <typename C>
  static C of(C a, C b) {
    return a * b;
  }
};

template <typename F, typename C>
C next(C a, C b) {
  if constexpr (std::is_same_v<C, int64_t>) {
    return static_cast<C>(F::of(static_cast<uint64_t>(a), static_cast<uint64_t>(b)));
  } else {
    return F::of(a, b);
  }
}

// The running value stays in the compute type; every prefix is rounded on its own.
template <typename F>
void scan(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  const std::vector<bool> axis = reduced_axis(call);
  const Lines lines(x, axis), out_lines(out, axis);
  visit_compute(out.dtype, [&](auto tag) {
    using C = decltype(tag);
    for_each_position(lines.kept_dims(), {lines.kept_strides(), out_lines.kept_strides()},
                      lines.length(), [&](const int64_t* offsets) {
                        C running = F::kStart;
                        C row[kRow];
                        const int64_t shift = offsets[1];
                        int64_t at = 0;
                        lines.for_each_piece(
                            offsets[0], [&](int64_t offset, int64_t step, int64_t count) {
                              load_row(x, offset, step, count, row);
                              if (x.dtype != out.dtype) round_row(row, count, out.dtype);
                              for (int64_t i = 0; i < count; ++i)
                                row[i] = running = next<F>(running, row[i]);
                              const int64_t out_step = out_lines.step();
                              store_row(row, out, shift + at * out_step, out_step, count);
                              at += count;
                            });
                      });
  });
}

constexpr KernelDef kKernels[] = {{"cumsum", scan<Plus>}, {"cumprod", scan<Times>}};

}  // namespace

extern const KernelFile k_kernels_cumulative;
const KernelFile k_kernels_cumulative = kKernels;

}  // namespace regraft::reference
