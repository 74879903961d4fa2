#include "backends/reference/run/remap.h"

#include <algorithm>
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

// Entries of a table that are next to each other: one behind the other, or all filled.
struct Run {
  int64_t begin, count, from;
};

std::vector<Run> runs_of(const AxisTable& table) {
  std::vector<Run> runs;
  for (size_t i = 0; i < table.size(); ++i) {
    const int64_t at = table[i];
    const auto continues = [&](const Run& run) {
      return at < 0 ? run.from < 0 : run.from >= 0 && at == run.from + run.count;
    };
    if (!runs.empty() && continues(runs.back())) {
      ++runs.back().count;
    } else {
      runs.push_back({static_cast<int64_t>(i), 1, at});
    }
  }
  return runs;
}

template <typename T>
void remap_typed(const T* from, const Dims& from_strides, const MutableTensorView& to,
                 const std::vector<AxisTable>& tables, T fill) {
  const int64_t inner = to.dims.back(), step = from_strides.back(), out_step = to.strides.back();
  const AxisTable& last = tables.back();
  const std::vector<Run> runs = runs_of(last);
  const bool is_in_runs = runs.size() * 4 <= last.size();  // Shorter ones do not pay.
  base::parallel_for(to.count() / inner, (1 << 14) / inner + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t base = row_offset(row, to.dims, tables, from_strides);
      T* const out_row = to.as_mutable<T>() + offset_of(row * inner, to.dims, to.strides);
      if (!is_in_runs) {
        for (int64_t i = 0; i < inner; ++i) {
          const int64_t at = base < 0 ? -1 : last[static_cast<size_t>(i)];
          out_row[i * out_step] = at < 0 ? fill : from[base + at * step];
        }
        continue;
      }
      for (const Run& run : runs) {
        T* const out = out_row + run.begin * out_step;
        const bool is_filled = base < 0 || run.from < 0;
        const T* const x = is_filled ? nullptr : from + base + run.from * step;
        if (!is_filled && step == 1 && out_step == 1) {
          std::copy_n(x, run.count, out);
          continue;
        }
        for (int64_t i = 0; i < run.count; ++i)
          out[i * out_step] = is_filled ? fill : x[i * step];
      }
    }
  });
}

// The axes of `to`, from the one with the largest step to the innermost in memory.
std::vector<size_t> by_stride(const MutableTensorView& to) {
  std::vector<size_t> order(to.dims.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return to.strides[a] > to.strides[b]; });
  return order;
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
  MutableTensorView target = to;
  Dims strides = from.strides;
  std::vector<AxisTable> ordered = tables;
  const std::vector<size_t> order = by_stride(to);
  for (size_t i = 0; i < order.size(); ++i) {
    target.dims[i] = to.dims[order[i]];
    target.strides[i] = to.strides[order[i]];
    strides[i] = from.strides[order[i]];
    ordered[i] = tables[order[i]];
  }
  visit(to.dtype, [&](auto tag) {
    using T = decltype(tag);
    const T value = load<T>(number.view(), 0);
    if (to.dims.empty()) {
      *to.as_mutable<T>() = *from.as<T>();
    } else {
      remap_typed(from.as<T>(), strides, target, ordered, value);
    }
  });
}

}  // namespace regraft::reference
