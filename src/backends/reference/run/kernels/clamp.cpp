#include "backends/reference/run/rows.h"

namespace regraft::reference {
namespace {

// NaN in the value or in a bound gives NaN; where the bounds cross, the upper one wins.
template <typename C>
C at_least(C x, C bound) {
  return x != x || x > bound ? x : bound;
}
template <typename C>
C at_most(C x, C bound) {
  return x != x || x < bound ? x : bound;
}

void clamp(const Call& call) {
  const Operands operands = operands_of(call, {{0, ""}, {1, "min"}, {2, "max"}});
  const bool has_min = call.has(1) || !call.attributes().is_none("min");
  const bool has_max = call.has(2) || !call.attributes().is_none("max");
  const size_t max_row = has_min ? 2 : 1;
  const auto run = [&](auto tag) {
    using C = decltype(tag);
    map<C, C>(call.out(0), operands.sources, [=](const C* const* rows, C* out, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        C x = rows[0][i];
        if (has_min) x = at_least(x, rows[1][i]);
        if (has_max) x = at_most(x, rows[max_row][i]);
        out[i] = x;
      }
    });
  };
  is_floating(operands.common) ? run(double{}) : run(int64_t{});
}

constexpr KernelDef kKernels[] = {{"clamp", clamp}};

}  // namespace

extern const KernelFile k_kernels_clamp;
const KernelFile k_kernels_clamp = kKernels;

}  // namespace regraft::reference
