#include <algorithm>

#include "backends/reference/run/rows.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

template <typename C>
std::vector<C> read_all(const Source& source) {
  std::vector<C> values;
  const TensorView& view = source.view;
  for (int64_t i = 0; i < view.count(); ++i) {
    values.push_back(load<C>(view, offset_of(i, view.dims, view.strides)));
  }
  round_row(values.data(), static_cast<int64_t>(values.size()), source.through);
  return values;
}

void isin(const Call& call) {
  const Operands operands = operands_of(call, {{0, ""}, {1, ""}});
  const bool invert = call.attributes().flag("invert");
  const auto run = [&](auto tag) {
    using C = decltype(tag);
    std::vector<C> tests = read_all<C>(operands.sources[1]);
    std::erase_if(tests, [](C x) { return x != x; });  // NaN equals nothing.
    std::sort(tests.begin(), tests.end());
    map<int64_t, C>(
        call.out(0), {operands.sources[0]}, [&](const C* const* rows, int64_t* out, int64_t count) {
          for (int64_t i = 0; i < count; ++i) {
            const C x = rows[0][i];
            const bool found = x == x && std::binary_search(tests.begin(), tests.end(), x);
            out[i] = found != invert;
          }
        });
  };
  is_floating(operands.common) ? run(double{}) : run(int64_t{});
}

// The first position whose boundary is not below x (with `right`: is above x). NaN is above all.
template <typename C>
int64_t bucket(const std::vector<C>& boundaries, C x, bool right) {
  size_t begin = 0, end = boundaries.size();
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    const bool stop = right ? boundaries[middle] > x : boundaries[middle] >= x;
    stop ? end = middle : begin = middle + 1;
  }
  return static_cast<int64_t>(begin);
}

void bucketize(const Call& call) {
  const Operands operands = operands_of(call, {{0, ""}, {1, ""}});
  const bool right = call.attributes().flag("right");
  const auto run = [&](auto tag) {
    using C = decltype(tag);
    const std::vector<C> boundaries = read_all<C>(operands.sources[1]);
    map<int64_t, C>(call.out(0), {operands.sources[0]},
                    [&](const C* const* rows, int64_t* out, int64_t count) {
                      for (int64_t i = 0; i < count; ++i) {
                        out[i] = bucket(boundaries, rows[0][i], right);
                      }
                    });
  };
  is_floating(operands.common) ? run(double{}) : run(int64_t{});
}

constexpr KernelDef kKernels[] = {{"isin", isin}, {"bucketize", bucketize}};

}  // namespace

extern const KernelFile k_kernels_isin;
const KernelFile k_kernels_isin = kKernels;

}  // namespace regraft::reference
