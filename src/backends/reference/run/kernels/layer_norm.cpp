#include <cmath>
#include <limits>

#include "backends/reference/run/spatial.h"

namespace regraft::reference {
namespace {

struct Moments {
  double mean, variance;
};

Moments moments(const double* x, int64_t size) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < size; ++i)
    sum += x[i];
  const double mean = sum / static_cast<double>(size);
  for (int64_t i = 0; i < size; ++i)
    squares += (x[i] - mean) * (x[i] - mean);
  return {mean, squares / static_cast<double>(size)};
}

// Calls normalise(row pointer, row index, row size) for every row of `values`, whose rows are what
// one statistic covers.
template <typename F>
void for_each_row(const Tensor& values, int64_t size, const F& normalise) {
  auto* data = values.mutable_view().as_mutable<double>();
  const int64_t rows = size == 0 ? 0 : values.view().count() / size;
  base::parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      normalise(data + row * size, row);
  });
}

// Elements of the last dimensions, which attribute `dims` names.
int64_t row_size(const Call& call, std::string_view op) {
  const Dims dims = call.attributes().integers("dims");
  for (size_t input = 0; input < call.input_count(); ++input) {
    if (!call.has(input)) continue;
    const Dims& have = call.in(input).dims;
    for (size_t i = 1; i <= dims.size(); ++i) {
      check_size(op, "last sizes", dims[dims.size() - i], have[have.size() - i]);
    }
  }
  return numel(dims);
}

void layer_norm(const Call& call) {
  const Tensor values = doubles(call, 0);
  const Tensor weight = doubles(call, 1), bias = doubles(call, 2);
  const double eps = call.attributes().number("eps");
  const int64_t size = row_size(call, "layer_norm");
  for_each_row(values, size, [&](double* x, int64_t) {
    const auto [mean, variance] = moments(x, size);
    const double scale = 1 / std::sqrt(variance + eps);
    for (int64_t i = 0; i < size; ++i) {
      x[i] = (x[i] - mean) * scale * (weight ? weight.view().as<double>()[i] : 1.0) +
             (bias ? bias.view().as<double>()[i] : 0.0);
    }
  });
  copy(values.view(), call.out(0));
}

// Without an eps: the machine epsilon of the dtype that PyTorch calculates in.
double default_eps(DType dtype) {
  return dtype == DType::F64 ? std::numeric_limits<double>::epsilon()
                             : std::numeric_limits<float>::epsilon();
}

void rms_norm(const Call& call) {
  const Tensor values = doubles(call, 0);
  const Tensor weight = doubles(call, 1);
  const double eps = call.attributes().is_none("eps") ? default_eps(call.in(0).dtype)
                                                      : call.attributes().number("eps");
  const int64_t size = row_size(call, "rms_norm");
  for_each_row(values, size, [&](double* x, int64_t) {
    double squares = 0;
    for (int64_t i = 0; i < size; ++i)
      squares += x[i] * x[i];
    const double scale = 1 / std::sqrt(squares / static_cast<double>(size) + eps);
    for (int64_t i = 0; i < size; ++i) {
      x[i] *= scale * (weight ? weight.view().as<double>()[i] : 1.0);
    }
  });
  copy(values.view(), call.out(0));
}

void group_norm(const Call& call) {
  const Tensor values = doubles(call, 0);
  const Tensor weight = doubles(call, 1), bias = doubles(call, 2);
  const double eps = call.attributes().number("eps");
  const Dims& dims = call.out(0).dims;
  const int64_t groups = call.attributes().integer("groups");
  const int64_t channels = dims[1] / groups;
  check_size("group_norm", "channels", channels * groups, dims[1]);
  for (size_t i = 1; i <= 2; ++i) {
    if (call.has(i)) check_size("group_norm", "parameters", dims[1], call.in(i).dims[0]);
  }
  const int64_t plane = numel(Dims(dims.begin() + 2, dims.end()));
  for_each_row(values, channels * plane, [&](double* x, int64_t row) {
    const auto [mean, variance] = moments(x, channels * plane);
    const double scale = 1 / std::sqrt(variance + eps);
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t channel = row % groups * channels + c;
      const double factor = scale * (weight ? weight.view().as<double>()[channel] : 1.0);
      const double shift = bias ? bias.view().as<double>()[channel] : 0.0;
      for (int64_t i = c * plane; i < (c + 1) * plane; ++i)
        x[i] = (x[i] - mean) * factor + shift;
    }
  });
  copy(values.view(), call.out(0));
}

constexpr KernelDef kKernels[] = {
    {"layer_norm", layer_norm},
    {"rms_norm", rms_norm},
    {"group_norm", group_norm},
};

}  // namespace

extern const KernelFile k_kernels_layer_norm = kKernels;

}  // namespace regraft::reference
