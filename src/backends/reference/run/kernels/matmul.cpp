#include "backends/reference/run/product.h"
#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

// An operand as a stack of matrices: a vector becomes a matrix with one row or one column.
struct Stack {
  TensorView batch;
  int64_t rows, row, columns, column;
};

Stack stack(const TensorView& view, bool vector_is_row) {
  Dims dims = view.dims, strides = view.strides;
  if (dims.size() == 1) {
    dims.insert(vector_is_row ? dims.begin() : dims.end(), 1);
    strides.insert(vector_is_row ? strides.begin() : strides.end(), 0);
  }
  const size_t n = dims.size();
  return {{view.data, view.dtype, Dims(dims.begin(), dims.end() - 2),
           Dims(strides.begin(), strides.end() - 2)},
          dims[n - 2],
          strides[n - 2],
          dims[n - 1],
          strides[n - 1]};
}

template <typename T>
void matmul(const Call& call) {
  using C = Compute<T>;
  const Stack x = stack(call.in(0), true);
  const Stack y = stack(call.in(1), false);
  const MutableTensorView& out = call.out(0);
  // The strides of the rows and columns of the result that vectors have not taken away.
  size_t kept = out.dims.size();
  const int64_t column = call.in(1).dims.size() > 1 ? out.strides[--kept] : 0;
  const int64_t row = call.in(0).dims.size() > 1 ? out.strides[--kept] : 0;
  const Dims batch(out.dims.begin(), out.dims.begin() + static_cast<ptrdiff_t>(kept));
  const Dims x_strides = broadcast_strides(x.batch, batch);
  const Dims y_strides = broadcast_strides(y.batch, batch);
  check_size("matmul", "rows of y", x.columns, y.rows);

  const Tiling tiles(x.rows, y.columns);
  base::parallel_for(numel(batch) * tiles.count(), 1, [&](int64_t begin, int64_t end) {
    Multiplier<C> multiplier;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t index = t / tiles.count();
      const Matrix<C, T> a{call.in(0).as<T>() + offset_of(index, batch, x_strides), x.row,
                           x.column};
      const Matrix<C, T> b{call.in(1).as<T>() + offset_of(index, batch, y_strides), y.row,
                           y.column};
      T* to = out.as_mutable<T>() + offset_of(index, batch, out.strides);
      multiplier.multiply(
          tiles.at(t % tiles.count()), x.columns, a, b,
          [&](int64_t i, int64_t j, C sum) { to[i * row + j * column] = convert<T>(sum); });
    }
  });
}

void run(const Call& call) {
  visit_computed(call.out(0).dtype, [&](auto tag) { matmul<decltype(tag)>(call); });
}

constexpr KernelDef kKernels[] = {{"matmul", run}};

}  // namespace

extern const KernelFile k_kernels_matmul = kKernels;

}  // namespace regraft::reference
