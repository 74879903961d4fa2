#include "backends/reference/run/product.h"
#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

template <typename T>
void linear(const Call& call) {
  using C = Compute<T>;
  const TensorView& x = call.in(0);
  const TensorView& weight = call.in(1);
  const MutableTensorView& out = call.out(0);
  check_size("linear", "features of x", weight.dims[1], x.dims.back());
  if (call.has(2)) check_size("linear", "bias", weight.dims[0], call.in(2).dims[0]);
  const Dims rows_dims(x.dims.begin(), x.dims.end() - 1);
  const auto rows_of = [&](const TensorView& view) {
    std::vector<int64_t> offsets(static_cast<size_t>(numel(rows_dims)));
    for (size_t i = 0; i < offsets.size(); ++i) {
      offsets[i] = offset_of(static_cast<int64_t>(i), rows_dims, view.strides);
    }
    return offsets;
  };
  const std::vector<int64_t> x_rows = rows_of(x);
  const std::vector<int64_t> out_rows = rows_of(out);
  const int64_t x_step = x.strides.back();
  const int64_t out_step = out.strides.back();

  const auto a = [&](int64_t i, int64_t p) {
    return convert<C>(x.as<T>()[x_rows[i] + p * x_step]);
  };
  const Matrix<C, T> b{weight.as<T>(), weight.strides[1], weight.strides[0]};
  const auto store = [&](int64_t i, int64_t j, C sum) {
    if (call.has(2)) sum += convert<C>(call.in(2).as<T>()[j * call.in(2).strides[0]]);
    out.as_mutable<T>()[out_rows[i] + j * out_step] = convert<T>(sum);
  };
  const Tiling tiles(std::ssize(x_rows), weight.dims[0]);
  base::parallel_for(tiles.count(), 1, [&](int64_t begin, int64_t end) {
    Multiplier<C> multiplier;
    for (int64_t t = begin; t < end; ++t) {
      multiplier.multiply(tiles.at(t), weight.dims[1], a, b, store);
    }
  });
}

void run(const Call& call) {
  visit_computed(call.out(0).dtype, [&](auto tag) { linear<decltype(tag)>(call); });
}

constexpr KernelDef kKernels[] = {{"linear", run}};

}  // namespace

extern const KernelFile k_kernels_linear = kKernels;

}  // namespace regraft::reference
