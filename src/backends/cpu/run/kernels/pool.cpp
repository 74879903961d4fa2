#include <algorithm>
#include <array>
#include <limits>

#include "backends/cpu/run/conversion.h"
#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/onednn.h"
#include "backends/cpu/run/vector_math.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

using Triple = std::array<int64_t, 3>;

// Channels that one call of a window function reduces: accumulators in registers.
constexpr int64_t kBlock = 64;

// One window over channels-last elements.
struct Window {
  const void* x;            // First channel of the block at position 0 of the image.
  Triple begin, end, step;  // In positions per axis; end may not be above begin.
  Triple stride;            // In elements.
  int64_t channels;         // Of the block: 1 to kBlock.
  void* out;
  int64_t* indices;  // Null, or one per channel.
  Triple plane;      // Sizes, for indices.
  float factor;      // Of a mean.
};

template <typename T>
struct MaxWindow {
  REGRAFT_INLINE static void run(const Window* w) {
    float most[kBlock];
    int32_t index[kBlock];
    const auto position = [&](int64_t d, int64_t h, int64_t v) {
      return static_cast<int32_t>((d * w->plane[1] + h) * w->plane[2] + v);
    };
    const int32_t first = position(w->begin[0], w->begin[1], w->begin[2]);
    for (int64_t c = 0; c < kBlock; ++c)
      most[c] = -std::numeric_limits<float>::infinity();
    for (int64_t c = 0; c < kBlock; ++c)
      index[c] = first;
    for (int64_t d = w->begin[0]; d < w->end[0]; d += w->step[0]) {
      for (int64_t h = w->begin[1]; h < w->end[1]; h += w->step[1]) {
        for (int64_t v = w->begin[2]; v < w->end[2]; v += w->step[2]) {
          const T* const x =
              static_cast<const T*>(w->x) + d * w->stride[0] + h * w->stride[1] + v * w->stride[2];
          if (w->indices == nullptr) {
            for (int64_t c = 0; c < w->channels; ++c) {
              const float value = load_float(x[c]);
              // NaN wins over everything.
              most[c] = ((most[c] > value) | (most[c] != most[c])) ? most[c] : value;
            }
            continue;
          }
          const int32_t here = position(d, h, v);
          for (int64_t c = 0; c < w->channels; ++c) {
            const float value = load_float(x[c]);
            const bool wins = (value > most[c]) | (value != value);
            most[c] = wins ? value : most[c];
            index[c] = wins ? here : index[c];
          }
        }
      }
    }
    T* const out = static_cast<T*>(w->out);
    for (int64_t c = 0; c < w->channels; ++c)
      store_float(out + c, most[c]);
    if (w->indices == nullptr) return;
    for (int64_t c = 0; c < w->channels; ++c)
      w->indices[c] = index[c];
  }
};

template <typename T>
struct MeanWindow {
  REGRAFT_INLINE static void run(const Window* w) {
    float sum[kBlock] = {};
    for (int64_t d = w->begin[0]; d < w->end[0]; ++d) {
      for (int64_t h = w->begin[1]; h < w->end[1]; ++h) {
        for (int64_t v = w->begin[2]; v < w->end[2]; ++v) {
          const T* const x =
              static_cast<const T*>(w->x) + d * w->stride[0] + h * w->stride[1] + v * w->stride[2];
          for (int64_t c = 0; c < w->channels; ++c)
            sum[c] += load_float(x[c]);
        }
      }
    }
    T* const out = static_cast<T*>(w->out);
    for (int64_t c = 0; c < w->channels; ++c)
      store_float(out + c, sum[c] * w->factor);
  }
};

Triple triple(const KernelRequest& request, std::string_view name, int64_t filler, size_t count) {
  Triple out{filler, filler, filler};
  if (request.attributes.is_none(name)) return out;
  const Dims list = request.attributes.integers(name);
  if (list.empty()) return out;
  for (size_t i = 0; i < count; ++i)
    out[3 - count + i] = list.size() == 1 ? list[0] : list[i];
  return out;
}

// Ranges of the windows: what differs between the ops.
struct Geometry {
  bool is_adaptive = false, is_mean = false;
  Triple kernel{1, 1, 1}, stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1};
  bool count_padding = true;
  int64_t divisor = 0;  // 0: the number of elements.
};

class PoolKernel final : public Kernel {
 public:
  PoolKernel(const KernelRequest& request, const Geometry& geometry, size_t spatial)
      : geometry_(geometry), type_(request.inputs[0].dtype) {
    const Dims& x = request.inputs[0].dims;
    const Dims& out = request.outputs[0].dims;
    batch_ = x[0];
    channels_ = x[1];
    for (size_t i = 0; i < spatial; ++i) {
      in_[3 - spatial + i] = x[2 + i];
      out_[3 - spatial + i] = out[2 + i];
    }
    x_ = Conversion::of_source(request.inputs[0], type_, channels_last_strides(x), workspace_);
    y_ = Conversion::of_target(request.outputs[0], type_, channels_last_strides(out), workspace_);
    has_indices_ = request.outputs.size() > 1;
    if (has_indices_) {
      indices_ = Conversion::of_target(request.outputs[1], DType::I64, channels_last_strides(out),
                                       workspace_);
    }
    function_ = geometry.is_mean ? select_float<MeanWindow, const Window*>(type_)
                                 : select_float<MaxWindow, const Window*>(type_);
  }

  void run(const KernelArguments& arguments) const override {
    void* const workspace = arguments.workspace;
    const void* const x = x_.source(arguments.inputs[0], workspace);
    void* const y = y_.target(arguments.outputs[0], workspace);
    void* const indices = has_indices_ ? indices_.target(arguments.outputs[1], workspace) : nullptr;
    const int64_t positions = batch_ * out_[0] * out_[1] * out_[2];
    const int64_t blocks = (channels_ + kBlock - 1) / kBlock;
    const int64_t window = geometry_.is_adaptive
                               ? in_[0] * in_[1] * in_[2] / (out_[0] * out_[1] * out_[2]) + 1
                               : geometry_.kernel[0] * geometry_.kernel[1] * geometry_.kernel[2];
    constexpr int64_t kGrain = 32768;  // Elements read that are worth a thread.
    base::parallel_for(
        positions * blocks, kGrain / (window * kBlock) + 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            run_window(x, y, static_cast<int64_t*>(indices), i / blocks, i % blocks * kBlock);
          }
        });
    y_.finish(arguments.outputs[0], workspace);
    if (has_indices_) indices_.finish(arguments.outputs[1], workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return "channels_last"; }

 private:
  void run_window(const void* x, void* y, int64_t* indices, int64_t position,
                  int64_t channel) const {
    const auto item = static_cast<int64_t>(item_size(type_));
    int64_t rest = position;
    Triple at{};
    for (size_t i = 3; i-- > 0;) {
      at[i] = rest % out_[i];
      rest /= out_[i];
    }
    Window window;
    window.x = static_cast<const char*>(x) +
               (rest * in_[0] * in_[1] * in_[2] * channels_ + channel) * item;
    window.stride = {in_[1] * in_[2] * channels_, in_[2] * channels_, channels_};
    window.plane = in_;
    window.channels = std::min(kBlock, channels_ - channel);
    window.out = static_cast<char*>(y) + (position * channels_ + channel) * item;
    window.indices = indices == nullptr ? nullptr : indices + position * channels_ + channel;
    place(at, window);
    function_(&window);
  }

  void place(const Triple& at, Window& window) const {
    const Geometry& g = geometry_;
    int64_t count = 1, padded_count = 1;
    for (size_t i = 0; i < 3; ++i) {
      window.step[i] = g.dilation[i];
      if (g.is_adaptive) {
        window.begin[i] = at[i] * in_[i] / out_[i];
        window.end[i] = ((at[i] + 1) * in_[i] + out_[i] - 1) / out_[i];
      } else {
        int64_t begin = at[i] * g.stride[i] - g.padding[i];
        const int64_t end = begin + (g.kernel[i] - 1) * g.dilation[i] + 1;
        padded_count *= std::min(end, in_[i] + g.padding[i]) - begin;
        // The first tap inside.
        if (begin < 0) begin += (-begin + g.dilation[i] - 1) / g.dilation[i] * g.dilation[i];
        window.begin[i] = begin;
        window.end[i] = std::min(end, in_[i]);
      }
      count *= std::max<int64_t>(window.end[i] - window.begin[i], 0);
    }
    const int64_t divisor = g.divisor != 0                      ? g.divisor
                            : g.count_padding && !g.is_adaptive ? padded_count
                                                                : count;
    window.factor = count == 0 ? 0.0F : 1.0F / static_cast<float>(divisor);
  }

  Geometry geometry_;
  DType type_;
  int64_t batch_ = 1, channels_ = 1;
  Triple in_{1, 1, 1}, out_{1, 1, 1};
  Workspace workspace_;
  Conversion x_, y_, indices_;
  bool has_indices_ = false;
  void (*function_)(const Window*) = nullptr;
};

std::unique_ptr<Kernel> make(const KernelRequest& request, const Geometry& geometry,
                             size_t spatial) {
  const Operand& x = request.inputs[0];
  if (x.dtype != DType::F32 && x.dtype != DType::BF16) unsupported(request, "x is ", name(x.dtype));
  if (x.dims.size() != spatial + 2 || spatial > 3) unsupported(request, "x has no batch");
  if (numel(x.dims) == 0 || numel(request.outputs[0].dims) == 0) unsupported(request, "empty");
  if (numel(x.dims) > std::numeric_limits<int32_t>::max()) unsupported(request, "x is too large");
  return std::make_unique<PoolKernel>(request, geometry, spatial);
}

Geometry windows(const KernelRequest& request, size_t spatial) {
  Geometry g;
  g.kernel = triple(request, "kernel", 1, spatial);
  g.stride = triple(request, "stride", 1, spatial);
  g.padding = triple(request, "padding", 0, spatial);
  g.dilation = triple(request, "dilation", 1, spatial);
  return g;
}

std::unique_ptr<Kernel> prepare_max_pool(const KernelRequest& request) {
  const size_t spatial = request.attributes.sizes("kernel").size();
  return make(request, windows(request, spatial), spatial);
}

std::unique_ptr<Kernel> prepare_avg_pool(const KernelRequest& request) {
  const size_t spatial = request.attributes.sizes("kernel").size();
  Geometry g = windows(request, spatial);
  g.is_mean = true;
  g.count_padding = request.attributes.flag("count_include_pad");
  if (!request.attributes.is_none("divisor")) g.divisor = request.attributes.integer("divisor");
  return make(request, g, spatial);
}

std::unique_ptr<Kernel> prepare_adaptive(const KernelRequest& request, bool is_mean) {
  Geometry g;
  g.is_adaptive = true;
  g.is_mean = is_mean;
  return make(request, g, request.attributes.sizes("dims").size());
}
std::unique_ptr<Kernel> prepare_adaptive_avg_pool(const KernelRequest& request) {
  return prepare_adaptive(request, true);
}
std::unique_ptr<Kernel> prepare_adaptive_max_pool(const KernelRequest& request) {
  return prepare_adaptive(request, false);
}

constexpr KernelDef kKernels[] = {{"max_pool", &prepare_max_pool},
                                  {"avg_pool", &prepare_avg_pool},
                                  {"adaptive_avg_pool", &prepare_adaptive_avg_pool},
                                  {"adaptive_max_pool", &prepare_adaptive_max_pool}};

}  // namespace

extern const KernelFile k_kernels_pool;
const KernelFile k_kernels_pool = kKernels;

}  // namespace regraft::cpu
