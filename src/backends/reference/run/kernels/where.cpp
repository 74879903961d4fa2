#include "backends/reference/run/rows.h"

namespace regraft::reference {
namespace {

void where(const Call& call) {
  Operands choices = operands_of(call, {{1, "x_scalar"}, {2, "y_scalar"}});
  std::vector<Source> sources = {{call.in(0), DType::Bool}};
  sources.insert(sources.end(), choices.sources.begin(), choices.sources.end());
  visit_compute(choices.common, [&](auto tag) {
    using C = decltype(tag);
    map<C, C>(call.out(0), sources, [](const C* const* rows, C* out, int64_t count) {
      for (int64_t i = 0; i < count; ++i)
        out[i] = rows[0][i] != C(0) ? rows[1][i] : rows[2][i];
    });
  });
}

constexpr KernelDef kKernels[] = {{"where", where}};

}  // namespace

extern const KernelFile k_kernels_where;
const KernelFile k_kernels_where = kKernels;

}  // namespace regraft::reference
