#include "backends/cpu/run/blend.h"
#include "backends/cpu/run/conversion.h"
#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/onednn.h"
#include "backends/grid_axis.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

using backends::Sample;

class GridSampler final : public Kernel {
 public:
  explicit GridSampler(const KernelRequest& request)
      : type_(request.inputs[0].dtype),
        in_(request.inputs[0].dims),
        out_(request.outputs[0].dims),
        spatial_(request.inputs[0].dims.size() - 2),
        mode_(request.attributes.text("mode")),
        padding_(backends::grid_padding(request.attributes.text("padding"))),
        align_corners_(request.attributes.flag("align_corners")),
        function_(select_blend(type_)) {
    const Operand& grid = request.inputs[1];
    const Dims &x = request.inputs[0].dims, &y = request.outputs[0].dims;
    x_ = Conversion::of_source(request.inputs[0], type_, channels_last_strides(x), workspace_);
    grid_ = Conversion::of_source(grid, DType::F32, contiguous_strides(grid.dims), workspace_);
    y_ = Conversion::of_target(request.outputs[0], type_, channels_last_strides(y), workspace_);
  }

  void run(const KernelArguments& arguments) const override {
    const void* const x = x_.source(arguments.inputs[0], arguments.workspace);
    const void* const grid = grid_.source(arguments.inputs[1], arguments.workspace);
    void* const y = y_.target(arguments.outputs[0], arguments.workspace);
    constexpr int64_t kGrain = 16384;  // Elements that are worth a thread.
    base::parallel_for(out_.batch * out_.places(), kGrain / (out_.channels + 16) + 1,
                       [&](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; ++i)
                           run_place(x, static_cast<const float*>(grid), y, i);
                       });
    y_.finish(arguments.outputs[0], arguments.workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return "channels_last"; }

 private:
  void run_place(const void* x, const float* grid, void* y, int64_t place) const {
    const auto bytes = static_cast<int64_t>(item_size(type_)) * in_.channels;
    const char* const from =
        static_cast<const char*>(x) + place / out_.places() * in_.places() * bytes;
    Sample along[3] = {{1, {0}, {1.0}}, {}, {}};
    // The grid names the last axis first.
    for (size_t axis = 0; axis < spatial_; ++axis) {
      along[2 - axis] = backends::grid_sample<float>(
          {in_.sizes[2 - axis], padding_, align_corners_},
          grid[place * static_cast<int64_t>(spatial_) + static_cast<int64_t>(axis)], mode_);
    }
    Blend blend;
    blend.channels = in_.channels;
    blend.out = static_cast<char*>(y) + place * bytes;
    for (int d = 0; d < along[0].count; ++d) {
      for (int h = 0; h < along[1].count; ++h) {
        const int64_t line = along[0].index[d] * in_.sizes[1] + along[1].index[h];
        const double scale = along[0].weight[d] * along[1].weight[h];
        const bool is_outside =
            along[0].index[d] == Sample::kOutside || along[1].index[h] == Sample::kOutside;
        for (int w = 0; w < along[2].count; ++w) {
          const int64_t column = along[2].index[w];
          const bool is_zero = is_outside || column == Sample::kOutside;
          blend.add(is_zero ? nullptr : from + (line * in_.sizes[2] + column) * bytes,
                    static_cast<float>(scale * along[2].weight[w]));
        }
      }
    }
    function_(&blend);
  }

  DType type_;
  Images in_, out_;
  size_t spatial_;
  std::string mode_;
  backends::GridPadding padding_;
  bool align_corners_;
  BlendFunction function_;
  Workspace workspace_;
  Conversion x_, grid_, y_;
};

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  const Operand &x = request.inputs[0], &grid = request.inputs[1];
  if (x.dtype != DType::F32 && x.dtype != DType::BF16) unsupported(request, "x is ", name(x.dtype));
  if (numel(x.dims) == 0 || numel(request.outputs[0].dims) == 0) unsupported(request, "empty");
  const Dims &in = x.dims, &out = request.outputs[0].dims;
  const size_t most = request.attributes.text("mode") == "bicubic" ? 4 : 5;
  if (in.size() < 4 || in.size() > most) unsupported(request, "x has no image");
  Dims want = out;  // Of the grid.
  want.erase(want.begin() + 1);
  want.push_back(static_cast<int64_t>(in.size()) - 2);
  if (out.size() != in.size() || in[0] != out[0] || in[1] != out[1] || grid.dims != want) {
    unsupported(request, "the grid is of another shape");  // The reference says how.
  }
  return std::make_unique<GridSampler>(request);
}

constexpr KernelDef kKernels[] = {{"grid_sampler", &prepare}};

}  // namespace

extern const KernelFile k_kernels_grid_sampler;
const KernelFile k_kernels_grid_sampler = kKernels;

}  // namespace regraft::cpu
