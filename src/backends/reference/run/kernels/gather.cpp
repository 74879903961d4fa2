#include <algorithm>

#include "backends/reference/run/indexing.h"
#include "backends/reference/run/remap.h"
#include "backends/reference/run/rows.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void index_select(const Call& call) {
  const TensorView x = at_least_1d(call.in(0));
  const size_t axis = axis_of(call.attributes().integer("dim"), x.dims.size());
  std::vector<AxisTable> tables;
  for (const int64_t size : x.dims)
    tables.push_back(identity_table(size));
  tables[axis] = read_indices(call.in(1));
  for (const int64_t index : tables[axis])
    check_index("index_select", index, x.dims[axis]);
  remap(x, at_least_1d(call.out(0)), tables);
}

// Beside the axis, sizes of the index must not pass those of the tensor it points into.
void check_fits(std::string_view op, const TensorView& index, const TensorView& x, size_t axis) {
  for (size_t i = 0; i < index.dims.size(); ++i) {
    if (i != axis && index.dims[i] > x.dims[i]) {
      base::fail("engine", ErrorCode::InvalidArgument, op, ": index ", to_string(index.dims),
                 " does not fit ", to_string(x.dims));
    }
  }
}

void gather(const Call& call) {
  const TensorView x = at_least_1d(call.in(0));
  const TensorView index = at_least_1d(call.in(1));
  const MutableTensorView out = at_least_1d(call.out(0));
  const size_t axis = axis_of(call.attributes().integer("dim"), x.dims.size());
  if (out.count() == 0) return;
  check_fits("gather", index, x, axis);
  Dims beside = x.strides;
  beside[axis] = 0;
  visit(x.dtype, [&](auto tag) {
    using T = decltype(tag);
    for_each_row(out.dims, {out.strides, index.strides, beside},
                 [&](const int64_t* offsets, const int64_t* steps, int64_t count) {
                   int64_t at[kRow];
                   load_row(index, offsets[1], steps[1], count, at);
                   for (int64_t i = 0; i < count; ++i) {
                     check_index("gather", at[i], x.dims[axis]);
                     out.as_mutable<T>()[offsets[0] + i * steps[0]] =
                         x.as<T>()[offsets[2] + i * steps[2] + at[i] * x.strides[axis]];
                   }
                 });
  });
}

enum class Reduction { None, Sum, Prod, Mean, Amax, Amin };

Reduction reduction_of(const std::string& text) {
  constexpr std::string_view kNames[] = {"none", "sum", "prod", "mean", "amax", "amin"};
  return static_cast<Reduction>(std::find(std::begin(kNames), std::end(kNames), text) - kNames);
}

template <typename C>
C combine(Reduction reduction, C a, C b) {
  switch (reduction) {
    case Reduction::None:
      return b;
    case Reduction::Prod:
      return a * b;
    case Reduction::Amax:
    case Reduction::Amin:
      if constexpr (!std::is_same_v<C, std::complex<double>>) {
        if (a != a || b != b) return a != a ? a : b;
        return (a < b) == (reduction == Reduction::Amax) ? b : a;
      }
      return b;
    default:
      return a + b;
  }
}

template <typename C>
C mean_of(C sum, int64_t count) {
  if constexpr (std::is_same_v<C, int64_t>) {
    return sum / count - (sum % count < 0 ? 1 : 0);
  } else {
    return sum / static_cast<double>(count);
  }
}

// Calculates in C from the first to the last element and rounds once; where an element is written
// twice without a reduction, the last one stays.
template <typename C>
void scatter_typed(const Call& call, const TensorView& source) {
  const TensorView index = at_least_1d(call.in(1));
  const MutableTensorView out = at_least_1d(call.out(0));
  const size_t axis = axis_of(call.attributes().integer("dim"), out.dims.size());
  const Reduction reduction = reduction_of(call.attributes().text("reduce"));
  const bool include_self = call.attributes().flag("include_self");
  std::vector<C> values(static_cast<size_t>(out.count()));
  std::vector<int64_t> hits(values.size(), 0);
  const Dims strides = contiguous_strides(out.dims);
  Dims beside = strides;
  beside[axis] = 0;
  check_fits("scatter", index, out, axis);
  for (int64_t i = 0; i < index.count(); ++i) {
    const auto target = load<int64_t>(index, offset_of(i, index.dims, index.strides));
    check_index("scatter", target, out.dims[axis]);
    const int64_t at = offset_of(i, index.dims, beside) + target * strides[axis];
    const C value = load<C>(source, offset_of(i, index.dims, source.strides));
    C& into = values[static_cast<size_t>(at)];
    if (hits[static_cast<size_t>(at)]++ == 0) {
      const C self = load<C>(out, offset_of(at, out.dims, out.strides));
      into = include_self ? combine(reduction, self, value) : value;
    } else {
      into = combine(reduction, into, value);
    }
  }
  for (int64_t at = 0; at < out.count(); ++at) {
    const int64_t count = hits[static_cast<size_t>(at)];
    if (count == 0) continue;
    const C value = values[static_cast<size_t>(at)];
    store(out, offset_of(at, out.dims, out.strides),
          reduction == Reduction::Mean ? mean_of(value, count + include_self) : value);
  }
}

void scatter(const Call& call) {
  copy(call.in(0), call.out(0));
  if (call.in(1).count() == 0) return;
  const TensorView index = at_least_1d(call.in(1));
  Tensor number;
  TensorView source;
  if (call.has(2)) {
    source = at_least_1d(call.in(2));
    check_fits("scatter", index, source, index.dims.size());
  } else {
    number = number_tensor(*call.attributes().find("value"));
    source = TensorView(number.view().data, number.dtype(), index.dims, Dims(index.dims.size(), 0));
  }
  visit_compute(call.out(0).dtype, [&](auto tag) { scatter_typed<decltype(tag)>(call, source); });
}

constexpr KernelDef kKernels[] = {
    {"index_select", index_select}, {"gather", gather}, {"scatter", scatter}};

}  // namespace

extern const KernelFile k_kernels_gather;
const KernelFile k_kernels_gather = kKernels;

}  // namespace regraft::reference
