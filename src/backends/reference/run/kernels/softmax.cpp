#include <cmath>
#include <limits>

#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

// One line of `size` elements that are `step` apart.
void softmax_line(double* x, int64_t size, int64_t step, bool logarithm) {
  double most = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < size; ++i)
    most = std::max(most, x[i * step]);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    x[i * step] -= most;
    sum += std::exp(x[i * step]);
  }
  const double shift = std::log(sum);
  for (int64_t i = 0; i < size; ++i) {
    double& value = x[i * step];
    value = logarithm ? value - shift : std::exp(value) / sum;
  }
}

void softmax(const Call& call, bool logarithm) {
  const MutableTensorView& out = call.out(0);
  const Tensor values = copy_as(copy_as(call.in(0), out.dtype).view(), DType::F64);
  const auto rank = static_cast<int64_t>(out.dims.size());
  const int64_t dim = call.attributes().integer("dim");
  const int64_t axis = dim < 0 ? dim + rank : dim;
  const int64_t size = rank == 0 ? 1 : out.dims[axis];
  const int64_t step = rank == 0 ? 1 : contiguous_strides(out.dims)[axis];
  auto* data = values.mutable_view().as_mutable<double>();
  const int64_t lines = size == 0 ? 0 : numel(out.dims) / size;
  base::parallel_for(lines, 16, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      softmax_line(data + line / step * step * size + line % step, size, step, logarithm);
    }
  });
  copy(values.view(), out);
}

constexpr KernelDef kKernels[] = {
    {"softmax", [](const Call& call) { softmax(call, false); }},
    {"log_softmax", [](const Call& call) { softmax(call, true); }},
};

}  // namespace

extern const KernelFile k_kernels_softmax = kKernels;

}  // namespace regraft::reference
