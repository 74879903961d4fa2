#include <array>
#include <cstring>

#include "backends/cpu/run/blend.h"
#include "backends/cpu/run/conversion.h"
#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/onednn.h"
#include "backends/resize_axis.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

using backends::ResizeAxis;
using backends::ResizeMode;
using backends::Sample;

class UpsampleKernel final : public Kernel {
 public:
  UpsampleKernel(const KernelRequest& request, ResizeMode mode)
      : type_(request.inputs[0].dtype),
        copies_(mode == ResizeMode::Nearest || mode == ResizeMode::NearestExact),
        in_(request.inputs[0].dims),
        out_(request.outputs[0].dims),
        function_(copies_ ? nullptr : select_blend(type_)) {
    const Attributes& attributes = request.attributes;
    const size_t spatial = request.inputs[0].dims.size() - 2;
    const bool align = attributes.has("align_corners") && attributes.flag("align_corners");
    std::vector<double> scales(spatial, 0.0);
    if (!attributes.is_none("scales")) scales = attributes.numbers("scales");
    for (size_t i = 0; i < 3; ++i) {
      const bool is_spatial = i + spatial >= 3;
      const ResizeAxis axis{in_.sizes[i], out_.sizes[i], is_spatial ? scales[i + spatial - 3] : 0.0,
                            align};
      along_[i] = backends::resize_samples<float>(axis, is_spatial ? mode : ResizeMode::Nearest);
    }
    const Dims &x = request.inputs[0].dims, &y = request.outputs[0].dims;
    x_ = Conversion::of_source(request.inputs[0], type_, channels_last_strides(x), workspace_);
    y_ = Conversion::of_target(request.outputs[0], type_, channels_last_strides(y), workspace_);
  }

  void run(const KernelArguments& arguments) const override {
    const void* const x = x_.source(arguments.inputs[0], arguments.workspace);
    void* const y = y_.target(arguments.outputs[0], arguments.workspace);
    const int64_t rows = out_.batch * out_.sizes[0] * out_.sizes[1];
    constexpr int64_t kGrain = 16384;  // Elements that are worth a thread.
    base::parallel_for(rows, kGrain / (out_.sizes[2] * out_.channels) + 1,
                       [&](int64_t begin, int64_t end) {
                         for (int64_t row = begin; row < end; ++row)
                           run_row(x, y, row);
                       });
    y_.finish(arguments.outputs[0], arguments.workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return "channels_last"; }

 private:
  void run_row(const void* x, void* y, int64_t row) const {
    const auto bytes = static_cast<int64_t>(item_size(type_)) * in_.channels;
    const int64_t image = row / (out_.sizes[0] * out_.sizes[1]);
    const Sample& depth = along_[0][static_cast<size_t>(row / out_.sizes[1] % out_.sizes[0])];
    const Sample& height = along_[1][static_cast<size_t>(row % out_.sizes[1])];
    const char* const from = static_cast<const char*>(x) + image * in_.places() * bytes;
    for (int64_t v = 0; v < out_.sizes[2]; ++v) {
      const Sample& width = along_[2][static_cast<size_t>(v)];
      if (copies_) {
        const int64_t line = depth.index[0] * in_.sizes[1] + height.index[0];
        std::memcpy(static_cast<char*>(y) + (row * out_.sizes[2] + v) * bytes,
                    from + (line * in_.sizes[2] + width.index[0]) * bytes,
                    static_cast<size_t>(bytes));
        continue;
      }
      Blend blend;
      blend.channels = in_.channels;
      blend.out = static_cast<char*>(y) + (row * out_.sizes[2] + v) * bytes;
      for (int d = 0; d < depth.count; ++d) {
        for (int h = 0; h < height.count; ++h) {
          const int64_t line = depth.index[d] * in_.sizes[1] + height.index[h];
          const double scale = depth.weight[d] * height.weight[h];
          for (int w = 0; w < width.count; ++w) {
            blend.add(from + (line * in_.sizes[2] + width.index[w]) * bytes,
                      static_cast<float>(scale * width.weight[w]));
          }
        }
      }
      function_(&blend);
    }
  }

  DType type_;
  bool copies_;
  Images in_, out_;
  BlendFunction function_;
  std::array<std::vector<Sample>, 3> along_;  // By output position.
  Workspace workspace_;
  Conversion x_, y_;
};

std::unique_ptr<Kernel> make(const KernelRequest& request, ResizeMode mode) {
  const Operand& x = request.inputs[0];
  const Dims& y = request.outputs[0].dims;
  const bool blends = mode == ResizeMode::Linear || mode == ResizeMode::Cubic;
  if (blends && x.dtype != DType::F32 && x.dtype != DType::BF16) {
    unsupported(request, "x is ", name(x.dtype));
  }
  // Whose positions are calculated in f64.
  if (x.dtype == DType::F64) unsupported(request, "x is ", name(x.dtype));
  if (x.dims.size() < 3 || x.dims.size() > 5) unsupported(request, "x has no image");
  if (mode == ResizeMode::Cubic && x.dims.size() != 4) unsupported(request, "x is no plane");
  if (numel(x.dims) == 0 || numel(y) == 0) unsupported(request, "empty");
  const Attributes& attributes = request.attributes;
  const bool has_scales = !attributes.is_none("scales");
  if (y.size() != x.dims.size() || y[0] != x.dims[0] || y[1] != x.dims[1] ||
      (has_scales && attributes.numbers("scales").size() + 2 != y.size())) {
    unsupported(request, "the result is of another shape");  // The reference says how.
  }
  return std::make_unique<UpsampleKernel>(request, mode);
}

std::unique_ptr<Kernel> prepare_nearest(const KernelRequest& request) {
  const bool exact = request.attributes.flag("exact");
  return make(request, exact ? ResizeMode::NearestExact : ResizeMode::Nearest);
}
std::unique_ptr<Kernel> prepare_bilinear(const KernelRequest& request) {
  return make(request, ResizeMode::Linear);
}
std::unique_ptr<Kernel> prepare_bicubic(const KernelRequest& request) {
  return make(request, ResizeMode::Cubic);
}

constexpr KernelDef kKernels[] = {{"upsample_nearest", &prepare_nearest},
                                  {"upsample_bilinear", &prepare_bilinear},
                                  {"upsample_bicubic", &prepare_bicubic}};

}  // namespace

extern const KernelFile k_kernels_upsample;
const KernelFile k_kernels_upsample = kKernels;

}  // namespace regraft::cpu
