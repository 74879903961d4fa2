#include <algorithm>

#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void diagonal(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  if (out.count() == 0) return;
  const size_t rows = axis_of(call.attributes().integer("dim1"), x.dims.size());
  const size_t columns = axis_of(call.attributes().integer("dim2"), x.dims.size());
  const int64_t offset = call.attributes().integer("offset");
  const int64_t row = std::max<int64_t>(-offset, 0), column = std::max<int64_t>(offset, 0);
  if (std::min(x.dims[rows] - row, x.dims[columns] - column) != out.dims.back()) {
    base::fail("engine", ErrorCode::InvalidArgument, "diagonal ", offset, " of ", to_string(x.dims),
               " does not have ", out.dims.back(), " elements");
  }
  TensorView view(x.data, x.dtype, out.dims, {});
  for (size_t i = 0; i < x.dims.size(); ++i) {
    if (i != rows && i != columns) view.strides.push_back(x.strides[i]);
  }
  view.strides.push_back(x.strides[rows] + x.strides[columns]);
  const int64_t first = row * x.strides[rows] + column * x.strides[columns];
  view.data = x.as<char>() + first * static_cast<int64_t>(item_size(x.dtype));
  copy(view, out);
}

// Copies, then clears the elements whose column - row lies on the wrong side of `diagonal`.
template <bool kUpper>
void triangle(const Call& call) {
  const MutableTensorView& out = call.out(0);
  copy(call.in(0), out);
  const int64_t diagonal = call.attributes().integer("diagonal");
  const size_t rank = out.dims.size();
  const int64_t columns = out.dims[rank - 1];
  if (out.count() == 0) return;
  visit(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    for (int64_t row = 0; row < out.count() / columns; ++row) {
      T* data = out.as_mutable<T>() + offset_of(row * columns, out.dims, out.strides);
      const int64_t edge = row % out.dims[rank - 2] + diagonal + (kUpper ? 0 : 1);
      const int64_t begin = kUpper ? 0 : std::clamp<int64_t>(edge, 0, columns);
      const int64_t end = kUpper ? std::clamp<int64_t>(edge, 0, columns) : columns;
      for (int64_t i = begin; i < end; ++i)
        data[i * out.strides[rank - 1]] = T{};
    }
  });
}

constexpr KernelDef kKernels[] = {
    {"diagonal", diagonal}, {"triu", triangle<true>}, {"tril", triangle<false>}};

}  // namespace

extern const KernelFile k_kernels_diagonal;
const KernelFile k_kernels_diagonal = kKernels;

}  // namespace regraft::reference
