#include <cmath>
#include <limits>

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

// Softmax over a contiguous row, in f32 whatever the dtypes. A row of -inf gives NaN, as PyTorch.
template <typename From, typename To>
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
    const float inverse = 1.0f / sum;
    for (int64_t i = 0; i < row.length; ++i) {
      store_float(out + i, fast_exp(load_float(x[i]) - maximum) * inverse);
    }
  }
};

class RowSoftmax final : public Kernel {
 public:
  explicit RowSoftmax(const KernelRequest& request)
      : x_(request.inputs[0], 1),
        out_(request.outputs[0], 1),
        from_item_(static_cast<int64_t>(item_size(request.inputs[0].dtype))),
        to_item_(static_cast<int64_t>(item_size(request.outputs[0].dtype))) {
    const bool from_f32 = request.inputs[0].dtype == DType::F32;
    const bool to_f32 = request.outputs[0].dtype == DType::F32;
    function_ = from_f32 ? (to_f32 ? select<Softmax<float, float>, const SoftmaxRow&>(isa())
                                   : select<Softmax<float, BFloat16>, const SoftmaxRow&>(isa()))
                         : (to_f32 ? select<Softmax<BFloat16, float>, const SoftmaxRow&>(isa())
                                   : select<Softmax<BFloat16, BFloat16>, const SoftmaxRow&>(isa()));
  }

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
  void (*function_)(const SoftmaxRow&) = nullptr;
};

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  const auto is_known = [](DType dtype) { return dtype == DType::F32 || dtype == DType::BF16; };
  const Operand& x = request.inputs[0];
  if (!is_known(x.dtype) || !is_known(request.outputs[0].dtype)) {
    unsupported(request, "takes f32 and bf16, not ", name(x.dtype));
  }
  const int64_t dim = request.attributes.integer("dim");
  const auto rank = static_cast<int64_t>(x.dims.size());
  if (rank == 0 || (dim != -1 && dim != rank - 1) || !Rows::fits(x, 1) ||
      !Rows::fits(request.outputs[0], 1)) {
    unsupported(request, "the dimension must be the last and contiguous");
  }
  return std::make_unique<RowSoftmax>(request);
}

constexpr KernelDef kKernels[] = {{"softmax", prepare}};

}  // namespace

extern const KernelFile k_kernels_softmax = kKernels;

}  // namespace regraft::cpu
