#include <cmath>
#include <limits>

#include "backends/cpu/run/column_softmax.h"
#include "backends/cpu/run/rows.h"
#include "backends/cpu/run/vector_math.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kLanes = 16;

struct SoftmaxRow {
  const void* x;
  void* out;
  int64_t length;
};

// Softmax over a contiguous row, or its logarithm, in f32 whatever the dtypes. A row of -inf gives
// NaN, as PyTorch.
template <typename From, typename To, bool IsLog>
struct Softmax {
  REGRAFT_INLINE static void run(const SoftmaxRow& row) {
    const From* x = static_cast<const From*>(row.x);
    To* out = static_cast<To*>(row.out);
    float best[kLanes], sums[kLanes] = {};
    for (int64_t l = 0; l < kLanes; ++l)
      best[l] = -std::numeric_limits<float>::infinity();
    const int64_t whole = row.length / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) {
        const float v = load_float(x[i + l]);
        best[l] = best[l] > v ? best[l] : v;
      }
    }
    float maximum = best[0];
    for (int64_t i = whole; i < row.length; ++i) {
      const float v = load_float(x[i]);
      maximum = maximum > v ? maximum : v;
    }
    for (int64_t l = 1; l < kLanes; ++l)
      maximum = maximum > best[l] ? maximum : best[l];
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l)
        sums[l] += fast_exp(load_float(x[i + l]) - maximum);
    }
    float sum = 0.0f;
    for (int64_t i = whole; i < row.length; ++i)
      sum += fast_exp(load_float(x[i]) - maximum);
    for (int64_t l = 0; l < kLanes; ++l)
      sum += sums[l];
    const float last = IsLog ? __builtin_logf(sum) : 1.0f / sum;
    for (int64_t i = 0; i < row.length; ++i) {
      const float distance = load_float(x[i]) - maximum;
      store_float(out + i, IsLog ? distance - last : fast_exp(distance) * last);
    }
  }
};

using RowFunction = void (*)(const SoftmaxRow&);

template <typename From, typename To>
using Plain = Softmax<From, To, false>;
template <typename From, typename To>
using Logarithm = Softmax<From, To, true>;

RowFunction select_types(DType from, DType to, bool is_log) {
  return is_log ? select_floats<Logarithm, const SoftmaxRow&>(from, to)
                : select_floats<Plain, const SoftmaxRow&>(from, to);
}

class RowSoftmax final : public Kernel {
 public:
  RowSoftmax(const KernelRequest& request, bool is_log)
      : x_(request.inputs[0], 1),
        out_(request.outputs[0], 1),
        from_item_(static_cast<int64_t>(item_size(request.inputs[0].dtype))),
        to_item_(static_cast<int64_t>(item_size(request.outputs[0].dtype))),
        function_(select_types(request.inputs[0].dtype, request.outputs[0].dtype, is_log)) {}

  void run(const KernelArguments& arguments) const override {
    if (x_.length() == 0) return;
    constexpr int64_t kGrain = 4096;  // Elements that are worth a thread.
    base::parallel_for(x_.count(), kGrain / x_.length() + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        function_({static_cast<const std::byte*>(arguments.inputs[0]) + x_.offset(i) * from_item_,
                   static_cast<std::byte*>(arguments.outputs[0]) + out_.offset(i) * to_item_,
                   x_.length()});
      }
    });
  }
  std::string tactic() const override { return "rows"; }

 private:
  Rows x_, out_;
  int64_t from_item_, to_item_;
  RowFunction function_;
};

std::unique_ptr<Kernel> make(const KernelRequest& request, bool is_log) {
  const auto is_known = [](DType dtype) { return dtype == DType::F32 || dtype == DType::BF16; };
  const Operand &x = request.inputs[0], &out = request.outputs[0];
  if (!is_known(x.dtype) || !is_known(out.dtype)) {
    unsupported(request, "takes f32 and bf16, not ", name(x.dtype));
  }
  const int64_t dim = request.attributes.integer("dim");
  const auto rank = static_cast<int64_t>(x.dims.size());
  if (rank == 0) unsupported(request, "x is 0-d");
  const int64_t axis = dim < 0 ? dim + rank : dim;
  if (axis == rank - 1 && Rows::fits(x, 1) && Rows::fits(out, 1)) {
    return std::make_unique<RowSoftmax>(request, is_log);
  }
  if (numel(x.dims) == 0) unsupported(request, "empty");
  if (auto columns = try_column_softmax(request, static_cast<size_t>(axis), is_log)) return columns;
  unsupported(request, "no dimension is contiguous in x and in the result");
}

std::unique_ptr<Kernel> prepare_softmax(const KernelRequest& request) {
  return make(request, false);
}
std::unique_ptr<Kernel> prepare_log_softmax(const KernelRequest& request) {
  return make(request, true);
}

constexpr KernelDef kKernels[] = {{"softmax", prepare_softmax},
                                  {"log_softmax", prepare_log_softmax}};

}  // namespace

extern const KernelFile k_kernels_softmax = kKernels;

}  // namespace regraft::cpu
