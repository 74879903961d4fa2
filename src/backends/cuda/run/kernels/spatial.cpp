#include "backends/cuda/run/spatial.h"

#include <algorithm>
#include <bit>

#include "backends/cuda/run/channels_last.h"
#include "backends/cuda/run/pointwise.h"

namespace regraft::cuda {
namespace {

ElementSpec spec_of(const KernelRequest& request, size_t spatial) {
  ElementSpec spec;
  spec.source = "spatial";
  spec.defines = base::cat("#define OP_", op_name(request), "\n");
  if (is_complex(request.inputs[0].dtype)) unsupported(request, "complex numbers");
  spec.inputs = {as_image(input_of(request, 0), spatial)};
  for (size_t i = 0; i < request.outputs.size(); ++i)
    spec.outputs.push_back(as_image(output_of(request, i), spatial));
  return spec;
}

std::unique_ptr<Kernel> finish(CudaDevice& device, const ElementSpec& spec) {
  return make_kernel(make_element(device, spec), spec.source);
}

// Null where the images do not lie with their channels last.
std::unique_ptr<Kernel> try_pool(CudaDevice& device, const KernelRequest& request,
                                 const PoolWindow& window) {
  auto launch = try_make_pool(device, input_of(request, 0), output_of(request, 0), window);
  return launch ? make_kernel(std::move(*launch), "pool") : nullptr;
}

std::unique_ptr<Kernel> prepare_max_pool(CudaDevice& device, const KernelRequest& request) {
  const Attributes& attributes = request.attributes;
  const Dims kernel = attributes.integers("kernel");
  const PoolWindow window{kernel, attributes.integers("stride"), attributes.integers("padding"),
                          attributes.integers("dilation")};
  if (request.outputs.size() == 1) {
    if (auto pool = try_pool(device, request, window)) return pool;
  }
  ElementSpec spec = spec_of(request, kernel.size());
  spec.ints = window_ints(kernel, window.stride, window.padding, window.dilation);
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_avg_pool(CudaDevice& device, const KernelRequest& request) {
  const Attributes& attributes = request.attributes;
  const Dims kernel = attributes.integers("kernel");
  const PoolWindow window{kernel,
                          attributes.integers("stride"),
                          attributes.integers("padding"),
                          Dims(kernel.size(), 1),
                          false,
                          attributes.is_none("divisor") ? 0 : attributes.integer("divisor"),
                          attributes.flag("count_include_pad")};
  if (auto pool = try_pool(device, request, window)) return pool;
  ElementSpec spec = spec_of(request, kernel.size());
  spec.ints = window_ints(kernel, window.stride, window.padding, {});
  spec.ints.push_back(window.divisor);
  spec.ints.push_back(window.counts_padding ? 1 : 0);
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_adaptive(CudaDevice& device, const KernelRequest& request) {
  return finish(device, spec_of(request, request.attributes.sizes("dims").size()));
}

// [.., C * taps, places] as [N, C, taps, rows, columns].
LaunchOperand columns_of(LaunchOperand operand, int64_t taps, int64_t rows, int64_t columns) {
  const size_t rank = operand.dims.size();
  const int64_t channel = operand.strides[rank - 2], place = operand.strides[rank - 1];
  const Dims dims = {rank == 3 ? operand.dims[0] : 1, operand.dims[rank - 2] / taps, taps, rows,
                     columns};
  operand.strides = {rank == 3 ? operand.strides[0] : 0, channel * taps, channel, place * columns,
                     place};
  operand.dims = dims;
  return operand;
}

std::unique_ptr<Kernel> prepare_columns(CudaDevice& device, const KernelRequest& request) {
  const Attributes& attributes = request.attributes;
  const bool gathers = op_name(request) == "im2col";
  const Dims& image = gathers ? request.inputs[0].dims : request.outputs[0].dims;
  const Dims kernel = attributes.integers("kernel"), stride = attributes.integers("stride");
  const Dims padding = attributes.integers("padding");
  const Dims dilation = attributes.integers("dilation");
  int64_t places[2];
  for (size_t i = 0; i < 2; ++i) {
    const int64_t size = image[image.size() - 2 + i];
    places[i] = (size + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1;
  }
  if (is_complex(request.inputs[0].dtype)) unsupported(request, "complex numbers");
  const int64_t taps = kernel[0] * kernel[1];
  ElementSpec spec;
  spec.source = "spatial";
  spec.defines = base::cat("#define OP_", op_name(request), "\n");
  const LaunchOperand x = input_of(request, 0), out = output_of(request, 0);
  spec.inputs = {gathers ? as_image(x, 2) : columns_of(x, taps, places[0], places[1])};
  spec.outputs = {gathers ? columns_of(out, taps, places[0], places[1]) : as_image(out, 2)};
  spec.ints = window_ints(kernel, stride, padding, dilation);
  return finish(device, spec);
}

// Of factors that are powers of two, which need no rounding: every element is copied to a block.
std::unique_ptr<Kernel> try_repeat(CudaDevice& device, const KernelRequest& request,
                                   size_t spatial) {
  const Dims &from = request.inputs[0].dims, &to = request.outputs[0].dims;
  LaunchOperand x = input_of(request, 0), out = output_of(request, 0);
  Dims scales(spatial, 1);
  for (size_t i = 0; i < spatial; ++i) {
    const size_t d = 2 + i;
    scales[i] = from[d] > 0 ? to[d] / from[d] : 0;
    const auto scale = static_cast<uint64_t>(scales[i]);
    if (!std::has_single_bit(scale) || scales[i] * from[d] != to[d]) return nullptr;
  }
  if (!request.attributes.is_none("scales")) {
    const std::vector<double> said = request.attributes.numbers("scales");
    if (!std::equal(scales.begin(), scales.end(), said.begin(), said.end())) return nullptr;
  }
  // [N, C, rows, factor, columns, factor]: along the factors, x stands still.
  for (size_t i = 0; i < spatial; ++i) {
    const auto at = static_cast<std::ptrdiff_t>(2 + 2 * i);
    x.strides.insert(x.strides.begin() + at + 1, 0);
    const int64_t stride = out.strides[2 + 2 * i];
    out.strides[2 + 2 * i] = stride * scales[i];
    out.strides.insert(out.strides.begin() + at + 1, stride);
    x.dims.insert(x.dims.begin() + at + 1, scales[i]);
  }
  out.dims = x.dims;
  if (out.dims.size() > kMaxRank) return nullptr;
  return make_kernel(make_copy(device, x, out), "repeat");
}

std::unique_ptr<Kernel> prepare_upsample(CudaDevice& device, const KernelRequest& request) {
  const Attributes& attributes = request.attributes;
  const std::string_view op = op_name(request);
  const size_t spatial = attributes.sizes("dims").size();
  if (op == "upsample_nearest") {
    if (auto kernel = try_repeat(device, request, spatial)) return kernel;
  }
  ElementSpec spec = spec_of(request, spatial);
  spec.source = "sample";
  const int64_t mode = op == "upsample_nearest"    ? (attributes.flag("exact") ? 1 : 0)
                       : op == "upsample_bilinear" ? 2
                                                   : 3;
  const bool aligns = attributes.has("align_corners") && attributes.flag("align_corners");
  spec.ints = {mode, aligns ? 1 : 0, static_cast<int64_t>(spatial)};
  std::vector<double> scales(spatial, 0.0);
  if (!attributes.is_none("scales")) scales = attributes.numbers("scales");
  spec.numbers.assign(3 - spatial, 0.0);
  spec.numbers.insert(spec.numbers.end(), scales.begin(), scales.end());
  return finish(device, spec);
}

std::unique_ptr<Kernel> prepare_grid_sampler(CudaDevice& device, const KernelRequest& request) {
  const Attributes& attributes = request.attributes;
  const size_t spatial = request.inputs[0].dims.size() - 2;
  ElementSpec spec = spec_of(request, spatial);
  spec.source = "sample";
  LaunchOperand grid = input_of(request, 1);
  grid.dims.insert(grid.dims.begin() + 1, 3 - spatial, 1);
  grid.strides.insert(grid.strides.begin() + 1, 3 - spatial, 0);
  spec.inputs.push_back(std::move(grid));
  const std::string &mode = attributes.text("mode"), &padding = attributes.text("padding");
  spec.ints = {mode == "nearest"    ? 0
               : mode == "bilinear" ? 1
                                    : 2,
               padding == "zeros"    ? 0
               : padding == "border" ? 1
                                     : 2,
               attributes.flag("align_corners") ? 1 : 0, static_cast<int64_t>(spatial)};
  return finish(device, spec);
}

constexpr KernelDef kKernels[] = {
    {"max_pool", prepare_max_pool},
    {"avg_pool", prepare_avg_pool},
    {"adaptive_max_pool", prepare_adaptive},
    {"adaptive_avg_pool", prepare_adaptive},
    {"im2col", prepare_columns},
    {"col2im", prepare_columns},
    {"upsample_nearest", prepare_upsample},
    {"upsample_bilinear", prepare_upsample},
    {"upsample_bicubic", prepare_upsample},
    {"grid_sampler", prepare_grid_sampler},
};

}  // namespace

extern const KernelFile k_kernels_spatial;
const KernelFile k_kernels_spatial = kKernels;

}  // namespace regraft::cuda
