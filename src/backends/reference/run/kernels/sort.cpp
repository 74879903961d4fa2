#include <algorithm>
#include <numeric>

#include "backends/reference/run/lines.h"

namespace regraft::reference {
namespace {

// Ascending with NaN last.
template <typename C>
bool before(C a, C b) {
  return a < b || (b != b && a == a);
}

// The first `count` elements of every line in sorted order, and their positions. Equal elements
// keep their order in both directions.
void sort_lines(const Call& call, bool descending) {
  const TensorView& x = call.in(0);
  const MutableTensorView &values = call.out(0), &indices = call.out(1);
  const std::vector<bool> axis = reduced_axis(call);
  const Lines lines(x, axis), value_lines(values, axis), index_lines(indices, axis);
  if (value_lines.length() > lines.length()) {
    base::fail("engine", ErrorCode::InvalidArgument, "topk: want at most ", lines.length(),
               " elements, have ", value_lines.length());
  }
  const auto run = [&](auto tag) {
    using C = decltype(tag);
    for_each_position(
        lines.kept_dims(),
        {lines.kept_strides(), value_lines.kept_strides(), index_lines.kept_strides()},
        lines.length() * 8, [&](const int64_t* offsets) {
          std::vector<C> line(static_cast<size_t>(lines.length()));
          load_row(x, offsets[0], lines.step(), lines.length(), line.data());
          std::vector<size_t> order(line.size());
          std::iota(order.begin(), order.end(), size_t{0});
          const auto comes_first = [&](size_t a, size_t b) {
            const C first = descending ? line[b] : line[a], second = descending ? line[a] : line[b];
            return before(first, second) || (!before(second, first) && a < b);
          };
          constexpr size_t kFew = 8;  // Parts of a line for which a heap is faster.
          const auto count = static_cast<size_t>(value_lines.length());
          if (count * kFew < order.size()) {
            const auto wanted = order.begin() + static_cast<std::ptrdiff_t>(count);
            std::partial_sort(order.begin(), wanted, order.end(), comes_first);
          } else {
            std::sort(order.begin(), order.end(), comes_first);
          }
          for (int64_t i = 0; i < value_lines.length(); ++i) {
            const size_t from = order[static_cast<size_t>(i)];
            store(values, offsets[1] + i * value_lines.step(), line[from]);
            store(indices, offsets[2] + i * index_lines.step(), static_cast<int64_t>(from));
          }
        });
  };
  is_floating(x.dtype) ? run(double{}) : run(int64_t{});
}

void sort(const Call& call) { sort_lines(call, call.attributes().flag("descending")); }
void topk(const Call& call) { sort_lines(call, call.attributes().flag("largest")); }

constexpr KernelDef kKernels[] = {{"sort", sort}, {"topk", topk}};

}  // namespace

extern const KernelFile k_kernels_sort;
const KernelFile k_kernels_sort = kKernels;

}  // namespace regraft::reference
