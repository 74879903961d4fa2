#include "backends/reference/run/remap.h"

#include <numeric>

#include "backends/reference/run/rows.h"

namespace regraft::reference {
namespace {

// Offset of the row's start in `from`, or -1 where the row is filled.
int64_t row_offset(int64_t row, const Dims& dims, const std::vector<AxisTable>& tables,
                   const Dims& strides) {
  int64_t offset = 0;
  for (size_t i = dims.size() - 1; i-- > 0;) {
    const int64_t at = tables[i][static_cast<size_t>(row % dims[i])];
    if (at < 0) return -1;
    offset += at * strides[i];
    row /= dims[i];
  }
  return offset;
}

template <typename T>
void remap_typed(const T* from, const Dims& from_strides, const MutableTensorView& to,
                 const std::vector<AxisTable>& tables, T fill) {
  const int64_t inner = to.dims.back();
  const AxisTable& last = tables.back();
  const int64_t step = from_strides.back();
  base::parallel_for(to.count() / inner, (1 << 14) / inner + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t base = row_offset(row, to.dims, tables, from_strides);
      T* out = to.as_mutable<T>() + offset_of(row * inner, to.dims, to.strides);
      for (int64_t i = 0; i < inner; ++i) {
        const int64_t at = base < 0 ? -1 : last[static_cast<size_t>(i)];
        out[i * to.strides.back()] = at < 0 ? fill : from[base + at * step];
      }
    }
  });
}

}  // namespace

AxisTable identity_table(int64_t size) {
  AxisTable table(static_cast<size_t>(size));
  std::iota(table.begin(), table.end(), int64_t{0});
  return table;
}

void remap(const TensorView& from, const MutableTensorView& to,
           const std::vector<AxisTable>& tables, const Attribute& fill) {
  if (to.count() == 0) return;
  const Tensor number = number_tensor(fill);
  visit(to.dtype, [&](auto tag) {
    using T = decltype(tag);
    const T value = load<T>(number.view(), 0);
    if (to.dims.empty()) {
      *to.as_mutable<T>() = *from.as<T>();
    } else {
      remap_typed(from.as<T>(), from.strides, to, tables, value);
    }
  });
}

}  // namespace regraft::reference
