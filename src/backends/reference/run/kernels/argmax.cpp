#include "backends/reference/run/lines.h"

namespace regraft::reference {
namespace {

template <typename C>
struct Best {
  C value{};
  int64_t index = 0;
};

// The first greatest (or smallest) element of a line; the first NaN where there is one.
template <typename C, bool kMax>
Best<C> best_of(const TensorView& x, const Lines& lines, int64_t start) {
  Best<C> best;
  int64_t at = 0;
  C row[kRow];
  lines.for_each_piece(start, [&](int64_t offset, int64_t step, int64_t count) {
    load_row(x, offset, step, count, row);
    for (int64_t i = 0; i < count; ++i, ++at) {
      const bool better = kMax ? row[i] > best.value : row[i] < best.value;
      const bool first_nan = row[i] != row[i] && best.value == best.value;
      if (at == 0 || better || first_nan) best = {row[i], at};
    }
  });
  return best;
}

// Outputs are [values and] positions.
template <bool kMax, bool kValues>
void find(const Call& call) {
  const TensorView& x = call.in(0);
  const Lines lines(x, reduced_axis(call));
  const MutableTensorView& values = call.out(0);
  const MutableTensorView& indices = call.out(kValues ? 1 : 0);
  if (lines.length() == 0 && numel(lines.kept_dims()) > 0) {
    base::fail("engine", ErrorCode::InvalidArgument, "no greatest or smallest of no elements");
  }
  const auto run = [&](auto tag) {
    using C = decltype(tag);
    for_each_position(
        lines.kept_dims(),
        {lines.kept_strides(), lines.kept_strides_of(indices), lines.kept_strides_of(values)},
        lines.length(), [&](const int64_t* offsets) {
          const Best<C> best = best_of<C, kMax>(x, lines, offsets[0]);
          store(indices, offsets[1], best.index);
          if (kValues) store(values, offsets[2], best.value);
        });
  };
  is_floating(x.dtype) ? run(double{}) : run(int64_t{});
}

constexpr KernelDef kKernels[] = {
    {"argmax", find<true, false>},
    {"argmin", find<false, false>},
    {"max_dim", find<true, true>},
    {"min_dim", find<false, true>},
};

}  // namespace

extern const KernelFile k_kernels_argmax;
const KernelFile k_kernels_argmax = kKernels;

}  // namespace regraft::reference
