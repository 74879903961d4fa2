#include <cmath>
#include <limits>

#include "backends/cpu/run/rows.h"
#include "backends/cpu/run/vector_math.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

struct NormRow {
  const void* x;
  const void* weight;  // Null: ones.
  const void* bias;    // Null: zeros.
  void* out;
  int64_t length;
  float epsilon;
};

constexpr int64_t kLanes = 16;

// Sum of f(i) over i in [0, count), in sixteen interleaved partial sums.
template <typename F>
REGRAFT_INLINE float lane_sum(int64_t count, F f) {
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l)
      sums[l] += f(i + l);
  }
  for (int64_t l = 0; i + l < count; ++l)
    sums[l] += f(i + l);
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l)
    sum += sums[l];
  return sum;
}

// The mean of a row as a float and what the float leaves out: values far from zero lose their
// digits against a mean rounded to f32.
struct Mean {
  float high = 0, low = 0;
  REGRAFT_INLINE float distance(float x) const { return (x - high) - low; }
};

// (x - mean) * scale * weight + bias; a row norm without mean passes 0.
template <typename T, typename W>
REGRAFT_INLINE void apply(const NormRow& row, Mean mean, float scale) {
  const T* x = static_cast<const T*>(row.x);
  const W* weight = static_cast<const W*>(row.weight);
  const W* bias = static_cast<const W*>(row.bias);
  T* out = static_cast<T*>(row.out);
  if (weight != nullptr && bias != nullptr) {
    for (int64_t i = 0; i < row.length; ++i) {
      store_float(out + i, mean.distance(load_float(x[i])) * scale * load_float(weight[i]) +
                               load_float(bias[i]));
    }
  } else if (weight != nullptr) {
    for (int64_t i = 0; i < row.length; ++i) {
      store_float(out + i, mean.distance(load_float(x[i])) * scale * load_float(weight[i]));
    }
  } else {
    for (int64_t i = 0; i < row.length; ++i) {
      const float shift = bias != nullptr ? load_float(bias[i]) : 0.0f;
      store_float(out + i, mean.distance(load_float(x[i])) * scale + shift);
    }
  }
}

template <typename T, typename W>
struct LayerNormRow {
  REGRAFT_INLINE static void run(const NormRow& row) {
    const T* x = static_cast<const T*>(row.x);
    const auto n = static_cast<float>(row.length);
    Mean mean;
    mean.high = lane_sum(row.length, [&](int64_t i) { return load_float(x[i]); }) / n;
    mean.low = lane_sum(row.length, [&](int64_t i) { return load_float(x[i]) - mean.high; }) / n;
    const float variance = lane_sum(row.length,
                                    [&](int64_t i) {
                                      const float d = mean.distance(load_float(x[i]));
                                      return d * d;
                                    }) /
                           n;
    apply<T, W>(row, mean, 1.0f / __builtin_sqrtf(variance + row.epsilon));
  }
};

template <typename T, typename W>
struct RmsNormRow {
  REGRAFT_INLINE static void run(const NormRow& row) {
    const T* x = static_cast<const T*>(row.x);
    const float mean_square = lane_sum(row.length,
                                       [&](int64_t i) {
                                         const float v = load_float(x[i]);
                                         return v * v;
                                       }) /
                              static_cast<float>(row.length);
    apply<T, W>(row, {}, 1.0f / __builtin_sqrtf(mean_square + row.epsilon));
  }
};

using RowFunction = void (*)(const NormRow&);

template <template <typename, typename> class Body>
RowFunction select_types(DType x, DType weight) {
  if (x == DType::F32) return select<Body<float, float>, const NormRow&>(isa());
  return weight == DType::BF16 ? select<Body<BFloat16, BFloat16>, const NormRow&>(isa())
                               : select<Body<BFloat16, float>, const NormRow&>(isa());
}

class RowNorm final : public Kernel {
 public:
  RowNorm(const KernelRequest& request, RowFunction function, float epsilon)
      : x_(request.inputs[0], request.attributes.integers("dims").size()),
        out_(request.outputs[0], request.attributes.integers("dims").size()),
        item_(item_size(request.inputs[0].dtype)),
        function_(function),
        epsilon_(epsilon) {}

  void run(const KernelArguments& arguments) const override {
    constexpr int64_t kGrain = 16384;  // Elements that are worth a thread.
    const auto input = [&](size_t i) {
      return i < arguments.inputs.size() ? arguments.inputs[i] : nullptr;
    };
    base::parallel_for(x_.count(), kGrain / x_.length() + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto item = static_cast<int64_t>(item_);
        function_({static_cast<const std::byte*>(arguments.inputs[0]) + x_.offset(i) * item,
                   input(1), input(2),
                   static_cast<std::byte*>(arguments.outputs[0]) + out_.offset(i) * item,
                   x_.length(), epsilon_});
      }
    });
  }
  std::string tactic() const override { return "rows"; }

 private:
  Rows x_, out_;
  size_t item_;
  RowFunction function_;
  float epsilon_;
};

void check(const KernelRequest& request) {
  const Operand& x = request.inputs[0];
  if (x.dtype != DType::F32 && x.dtype != DType::BF16) {
    unsupported(request, "takes f32 and bf16, not ", name(x.dtype));
  }
  const size_t inner = request.attributes.integers("dims").size();
  if (!Rows::fits(x, inner) || !Rows::fits(request.outputs[0], inner)) {
    unsupported(request, "normalised dimensions must be contiguous");
  }
  for (size_t i = 1; i < request.inputs.size(); ++i) {
    if (!request.inputs[i].present) continue;
    const DType dtype = request.inputs[i].dtype;
    if (dtype != DType::F32 && !(dtype == DType::BF16 && x.dtype == DType::BF16)) {
      unsupported(request, "takes weights of f32 or its own dtype, not ", name(dtype));
    }
    if (!Rows::fits(request.inputs[i], inner)) unsupported(request, "weights must be contiguous");
  }
}

DType weight_type(const KernelRequest& request) {
  for (size_t i = 1; i < request.inputs.size(); ++i) {
    if (request.inputs[i].present) return request.inputs[i].dtype;
  }
  return DType::F32;
}

std::unique_ptr<Kernel> prepare_layer_norm(const KernelRequest& request) {
  check(request);
  return std::make_unique<RowNorm>(
      request, select_types<LayerNormRow>(request.inputs[0].dtype, weight_type(request)),
      static_cast<float>(request.attributes.number("eps")));
}

std::unique_ptr<Kernel> prepare_rms_norm(const KernelRequest& request) {
  check(request);
  const DType dtype = request.inputs[0].dtype;
  // As PyTorch, which computes bf16 in f32: the spacing of f32 at 1.
  const float fallback = std::numeric_limits<float>::epsilon();
  const float epsilon = request.attributes.is_none("eps")
                            ? fallback
                            : static_cast<float>(request.attributes.number("eps"));
  return std::make_unique<RowNorm>(request, select_types<RmsNormRow>(dtype, weight_type(request)),
                                   epsilon);
}

constexpr KernelDef kKernels[] = {{"layer_norm", prepare_layer_norm},
                                  {"rms_norm", prepare_rms_norm}};

}  // namespace

extern const KernelFile k_kernels_layer_norm = kKernels;

}  // namespace regraft::cpu
