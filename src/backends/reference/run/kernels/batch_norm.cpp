#include <cmath>

#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

void batch_norm(const Call& call) {
  const MutableTensorView& out = call.out(0);
  const Tensor values = doubles(call, 0);
  const Tensor weight = doubles(call, 1), bias = doubles(call, 2);
  const Tensor mean = doubles(call, 3), variance = doubles(call, 4);
  const double eps = call.attributes().number("eps");
  const int64_t channels = out.dims[1];
  for (size_t i = 1; i <= 4; ++i) {
    if (call.has(i)) check_size("batch_norm", "parameters", channels, call.in(i).dims[0]);
  }
  const int64_t planes = out.dims[0] * channels;
  const int64_t size = planes == 0 ? 0 : numel(out.dims) / planes;
  auto* data = values.mutable_view().as_mutable<double>();
  base::parallel_for(planes, 8, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      const int64_t c = plane % channels;
      const double deviation = std::sqrt(variance.view().as<double>()[c] + eps);
      const double center = mean.view().as<double>()[c];
      const double scale = weight ? weight.view().as<double>()[c] : 1.0;
      const double shift = bias ? bias.view().as<double>()[c] : 0.0;
      double* x = data + plane * size;
      for (int64_t i = 0; i < size; ++i)
        x[i] = (x[i] - center) / deviation * scale + shift;
    }
  });
  copy(values.view(), out);
}

constexpr KernelDef kKernels[] = {{"batch_norm", batch_norm}};

}  // namespace

extern const KernelFile k_kernels_batch_norm = kKernels;

}  // namespace regraft::reference
