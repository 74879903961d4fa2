#include <algorithm>
#include <cmath>

#include "backends/cpu/run/conversion.h"
#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/onednn.h"
#include "backends/cpu/run/rows.h"
#include "backends/cpu/run/vector_math.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kBlock = 32;  // Channels that one task reads: sums in registers.
constexpr int64_t kRun = 128;   // Positions summed in float before they are added up in double.

// What is subtracted from a channel and what it is then multiplied by. A mean is a float and what
// the float leaves out: values far from zero lose their digits against a mean rounded to f32.
struct Channel {
  float high, low, factor, shift;
};

// Of one channel.
struct Sums {
  double value, square;
};

// Some channels of one image, channels-last.
struct Slice {
  const void* x;
  void* y;
  int64_t positions, stride, channels;  // The stride in elements.
  const Channel* channel;
  Sums* sums;
};

// Sums of what is there, or of the distances from a first mean and of their squares.
template <typename T, bool IsCentred>
REGRAFT_INLINE void add_up(const Slice* s) {
  double total[kBlock] = {}, total_squares[kBlock] = {};
  const Channel* const channel = s->channel;
  for (int64_t first = 0; first < s->positions; first += kRun) {
    float sum[kBlock] = {}, squares[kBlock] = {};
    const int64_t last = std::min(first + kRun, s->positions);
    for (int64_t p = first; p < last; ++p) {
      const T* const x = static_cast<const T*>(s->x) + p * s->stride;
      for (int64_t c = 0; c < s->channels; ++c) {
        float value = load_float(x[c]);
        if constexpr (IsCentred) {
          value = (value - channel[c].high) - channel[c].low;
          squares[c] += value * value;
        }
        sum[c] += value;
      }
    }
    for (int64_t c = 0; c < kBlock; ++c) {
      total[c] += static_cast<double>(sum[c]);
      if constexpr (IsCentred) total_squares[c] += static_cast<double>(squares[c]);
    }
  }
  for (int64_t c = 0; c < s->channels; ++c) {
    s->sums[c].value = total[c];
    if constexpr (IsCentred) s->sums[c].square = total_squares[c];
  }
}

template <typename T>
struct Sum {
  REGRAFT_INLINE static void run(const Slice* s) { add_up<T, false>(s); }
};

template <typename T>
struct SumOfSquares {
  REGRAFT_INLINE static void run(const Slice* s) { add_up<T, true>(s); }
};

template <typename T>
struct Scale {
  REGRAFT_INLINE static void run(const Slice* s) {
    float high[kBlock], low[kBlock], factor[kBlock], shift[kBlock];
    for (int64_t c = 0; c < s->channels; ++c) {
      high[c] = s->channel[c].high;
      low[c] = s->channel[c].low;
      factor[c] = s->channel[c].factor;
      shift[c] = s->channel[c].shift;
    }
    for (int64_t p = 0; p < s->positions; ++p) {
      const T* const x = static_cast<const T*>(s->x) + p * s->stride;
      T* const y = static_cast<T*>(s->y) + p * s->stride;
      for (int64_t c = 0; c < s->channels; ++c)
        store_float(y + c, ((load_float(x[c]) - high[c]) - low[c]) * factor[c] + shift[c]);
    }
  }
};

// The same for one channel whose positions lie side by side.
template <typename T, bool IsCentred>
REGRAFT_INLINE void add_up_row(const Slice* s) {
  constexpr int64_t kLanes = 32;
  const T* const x = static_cast<const T*>(s->x);
  const Channel channel = IsCentred ? *s->channel : Channel{};
  Sums total = {};
  for (int64_t first = 0; first < s->positions; first += kLanes * kRun) {
    float sum[kLanes] = {}, squares[kLanes] = {};
    const auto add = [&](int64_t at, int64_t lane) {
      float value = load_float(x[at]);
      if constexpr (IsCentred) {
        value = (value - channel.high) - channel.low;
        squares[lane] += value * value;
      }
      sum[lane] += value;
    };
    const int64_t last = std::min(first + kLanes * kRun, s->positions);
    int64_t p = first;
    for (; p + kLanes <= last; p += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l)
        add(p + l, l);
    }
    for (int64_t l = 0; p + l < last; ++l)
      add(p + l, l);
    for (int64_t l = 0; l < kLanes; ++l) {
      total.value += static_cast<double>(sum[l]);
      if constexpr (IsCentred) total.square += static_cast<double>(squares[l]);
    }
  }
  *s->sums = total;
}

template <typename T>
struct RowSum {
  REGRAFT_INLINE static void run(const Slice* s) { add_up_row<T, false>(s); }
};

template <typename T>
struct RowSumOfSquares {
  REGRAFT_INLINE static void run(const Slice* s) { add_up_row<T, true>(s); }
};

template <typename T>
struct RowScale {
  REGRAFT_INLINE static void run(const Slice* s) {
    const Channel channel = *s->channel;
    const T* const x = static_cast<const T*>(s->x);
    T* const y = static_cast<T*>(s->y);
    for (int64_t p = 0; p < s->positions; ++p) {
      const float distance = (load_float(x[p]) - channel.high) - channel.low;
      store_float(y + p, distance * channel.factor + channel.shift);
    }
  }
};

using SliceFunction = void (*)(const Slice*);

template <template <typename> class Body>
SliceFunction select_type(DType type) {
  return select_float<Body, const Slice*>(type);
}

// Row-major.
bool is_one_row(const Operand& operand) { return Rows::fits(operand, operand.dims.size()); }

class GroupNorm final : public Kernel {
 public:
  explicit GroupNorm(const KernelRequest& request)
      : type_(request.inputs[0].dtype),
        batch_(request.inputs[0].dims[0]),
        channels_(request.inputs[0].dims[1]),
        positions_(numel(request.inputs[0].dims) / (batch_ * channels_)),
        per_group_(channels_ / request.attributes.integer("groups")),
        epsilon_(request.attributes.number("eps")),
        is_rows_(is_one_row(request.inputs[0]) && is_one_row(request.outputs[0])),
        sum_(is_rows_ ? select_type<RowSum>(type_) : select_type<Sum>(type_)),
        squares_(is_rows_ ? select_type<RowSumOfSquares>(type_) : select_type<SumOfSquares>(type_)),
        scale_(is_rows_ ? select_type<RowScale>(type_) : select_type<Scale>(type_)) {
    const Dims& dims = request.inputs[0].dims;
    const Dims strides = is_rows_ ? contiguous_strides(dims) : channels_last_strides(dims);
    x_ = Conversion::of_source(request.inputs[0], type_, strides, workspace_);
    y_ = Conversion::of_target(request.outputs[0], type_, strides, workspace_);
    for (size_t i = 0; i < 2; ++i) {
      if (!is_present(request.inputs, i + 1)) continue;
      has_[i] = true;
      vectors_[i] = Conversion::of_source(request.inputs[i + 1], DType::F32, {1}, workspace_);
    }
    const auto count = static_cast<size_t>(batch_ * channels_);
    sums_ = workspace_.add(count * sizeof(Sums));
    table_ = workspace_.add(count * sizeof(Channel));
  }

  void run(const KernelArguments& arguments) const override {
    void* const workspace = arguments.workspace;
    const void* const x = x_.source(arguments.inputs[0], workspace);
    void* const y = y_.target(arguments.outputs[0], workspace);
    const auto vector = [&](size_t i) {
      return has_[i]
                 ? static_cast<const float*>(vectors_[i].source(arguments.inputs[i + 1], workspace))
                 : nullptr;
    };
    const float *const weight = vector(0), *const bias = vector(1);
    auto* const sums = static_cast<Sums*>(Workspace::at(workspace, sums_));
    auto* const table = static_cast<Channel*>(Workspace::at(workspace, table_));
    for_slices(sum_, x, y, sums, table);
    for_groups(sums, [&](int64_t first, Sums mean) {
      const auto high = static_cast<float>(mean.value);
      const auto low = static_cast<float>(mean.value - static_cast<double>(high));
      for (int64_t c = first; c < first + per_group_; ++c)
        table[c] = {high, low, 0, 0};
    });
    for_slices(squares_, x, y, sums, table);
    // The mean distance is what the first mean has lost in its sums of floats.
    for_groups(sums, [&](int64_t first, Sums mean) {
      const double variance = std::max(mean.square - mean.value * mean.value, 0.0);
      const double scale = 1 / std::sqrt(variance + epsilon_);
      for (int64_t c = first; c < first + per_group_; ++c) {
        const int64_t at = c % channels_;
        const double factor = weight == nullptr ? scale : scale * static_cast<double>(weight[at]);
        table[c].low = static_cast<float>(static_cast<double>(table[c].low) + mean.value);
        table[c].factor = static_cast<float>(factor);
        table[c].shift = bias == nullptr ? 0.0F : bias[at];
      }
    });
    for_slices(scale_, x, y, sums, table);
    y_.finish(arguments.outputs[0], workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return is_rows_ ? "rows" : "channels_last"; }

 private:
  void for_slices(SliceFunction function, const void* x, void* y, Sums* sums,
                  const Channel* table) const {
    constexpr int64_t kGrain = 32768;  // Elements that are worth a thread.
    const auto item = static_cast<int64_t>(item_size(type_));
    const int64_t width = is_rows_ ? 1 : kBlock;
    const int64_t blocks = (channels_ + width - 1) / width;
    base::parallel_for(
        batch_ * blocks, kGrain / (positions_ * width) + 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t channel = i % blocks * width, image = i / blocks;
            const int64_t entry = image * channels_ + channel;
            const int64_t at =
                item * (is_rows_ ? entry * positions_ : image * positions_ * channels_ + channel);
            const Slice slice{static_cast<const char*>(x) + at,
                              static_cast<char*>(y) + at,
                              positions_,
                              channels_,
                              std::min(width, channels_ - channel),
                              table + entry,
                              sums + entry};
            function(&slice);
          }
        });
  }

  // f(the group's first channel, the means of its channels' sums) for all groups of all images.
  template <typename F>
  void for_groups(const Sums* sums, F f) const {
    const auto count = static_cast<double>(per_group_ * positions_);
    for (int64_t first = 0; first < batch_ * channels_; first += per_group_) {
      Sums sum = {};
      for (int64_t c = first; c < first + per_group_; ++c) {
        sum.value += sums[c].value;
        sum.square += sums[c].square;
      }
      f(first, Sums{sum.value / count, sum.square / count});
    }
  }

  DType type_;
  int64_t batch_, channels_, positions_, per_group_;
  double epsilon_;
  bool is_rows_;  // The positions of a channel lie side by side.
  SliceFunction sum_, squares_, scale_;
  bool has_[2] = {false, false};  // Weight and bias.
  Workspace workspace_;
  Conversion x_, y_, vectors_[2];
  Workspace::Place sums_, table_;
};

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  const Operand& x = request.inputs[0];
  if (x.dtype != DType::F32 && x.dtype != DType::BF16) unsupported(request, "x is ", name(x.dtype));
  if (x.dims.size() < 3) unsupported(request, "x has no positions");
  if (numel(x.dims) == 0) unsupported(request, "empty");
  // Of sizes that do not fit, the reference says how.
  const int64_t channels = x.dims[1], groups = request.attributes.integer("groups");
  if (groups < 1 || channels % groups != 0) unsupported(request, "groups of unequal sizes");
  for (size_t i = 1; i < 3; ++i) {
    if (is_present(request.inputs, i) && request.inputs[i].dims != Dims{channels})
      unsupported(request, "weights of other channels");
  }
  return std::make_unique<GroupNorm>(request);
}

constexpr KernelDef kKernels[] = {{"group_norm", &prepare}};

}  // namespace

extern const KernelFile k_kernels_group_norm;
const KernelFile k_kernels_group_norm = kKernels;

}  // namespace regraft::cpu
