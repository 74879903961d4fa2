#include "backends/cpu/run/column_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/run/rows.h"
#include "backends/cpu/run/vector_math.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

constexpr int64_t kBlock = 32;  // Columns at a time: their maxima and sums in registers.

struct Columns {
  const void* x;
  void* out;
  int64_t count, length, x_step, out_step;
};

template <typename From, typename To, bool IsLog>
struct ColumnSoftmax {
  REGRAFT_INLINE static void run(const Columns& c) {
    const From* const x = static_cast<const From*>(c.x);
    To* const out = static_cast<To*>(c.out);
    float best[kBlock], sum[kBlock] = {};
    for (int64_t l = 0; l < kBlock; ++l)
      best[l] = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < c.length; ++i) {
      for (int64_t l = 0; l < c.count; ++l) {
        const float v = load_float(x[i * c.x_step + l]);
        best[l] = best[l] > v ? best[l] : v;
      }
    }
    for (int64_t i = 0; i < c.length; ++i) {
      for (int64_t l = 0; l < c.count; ++l)
        sum[l] += fast_exp(load_float(x[i * c.x_step + l]) - best[l]);
    }
    for (int64_t l = 0; l < c.count; ++l)
      sum[l] = IsLog ? __builtin_logf(sum[l]) : 1.0F / sum[l];
    for (int64_t i = 0; i < c.length; ++i) {
      for (int64_t l = 0; l < c.count; ++l) {
        const float distance = load_float(x[i * c.x_step + l]) - best[l];
        store_float(out + i * c.out_step + l,
                    IsLog ? distance - sum[l] : fast_exp(distance) * sum[l]);
      }
    }
  }
};

using ColumnFunction = void (*)(const Columns&);

template <typename From, typename To>
using Plain = ColumnSoftmax<From, To, false>;
template <typename From, typename To>
using Logarithm = ColumnSoftmax<From, To, true>;

ColumnFunction select_types(DType from, DType to, bool is_log) {
  return is_log ? select_floats<Logarithm, const Columns&>(from, to)
                : select_floats<Plain, const Columns&>(from, to);
}

// The operand with dimension `inner` last and without `axis`.
Operand lines(const Operand& operand, size_t axis, size_t inner) {
  Operand out = operand;
  out.dims.clear();
  out.strides.clear();
  for (size_t d = 0; d < operand.dims.size(); ++d) {
    if (d == axis || d == inner) continue;
    out.dims.push_back(operand.dims[d]);
    out.strides.push_back(operand.strides[d]);
  }
  out.dims.push_back(operand.dims[inner]);
  out.strides.push_back(operand.strides[inner]);
  return out;
}

class ColumnKernel final : public Kernel {
 public:
  ColumnKernel(const KernelRequest& request, size_t axis, size_t inner, bool is_log)
      : x_(lines(request.inputs[0], axis, inner), 1),
        out_(lines(request.outputs[0], axis, inner), 1),
        length_(request.inputs[0].dims[axis]),
        x_step_(request.inputs[0].strides[axis]),
        out_step_(request.outputs[0].strides[axis]),
        x_item_(static_cast<int64_t>(item_size(request.inputs[0].dtype))),
        out_item_(static_cast<int64_t>(item_size(request.outputs[0].dtype))),
        function_(select_types(request.inputs[0].dtype, request.outputs[0].dtype, is_log)) {}

  void run(const KernelArguments& arguments) const override {
    constexpr int64_t kGrain = 4096;  // Elements that are worth a thread.
    const int64_t blocks = (x_.length() + kBlock - 1) / kBlock;
    base::parallel_for(
        x_.count() * blocks, kGrain / (length_ * kBlock) + 1, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t line = i / blocks, first = i % blocks * kBlock;
            function_({static_cast<const std::byte*>(arguments.inputs[0]) +
                           (x_.offset(line) + first) * x_item_,
                       static_cast<std::byte*>(arguments.outputs[0]) +
                           (out_.offset(line) + first) * out_item_,
                       std::min(kBlock, x_.length() - first), length_, x_step_, out_step_});
          }
        });
  }
  std::string tactic() const override { return "columns"; }

 private:
  Rows x_, out_;
  int64_t length_, x_step_, out_step_, x_item_, out_item_;
  ColumnFunction function_;
};

}  // namespace

std::unique_ptr<Kernel> try_column_softmax(const KernelRequest& request, size_t axis, bool is_log) {
  const Operand &x = request.inputs[0], &out = request.outputs[0];
  for (size_t d = 0; d < x.dims.size(); ++d) {
    if (d != axis && x.strides[d] == 1 && out.strides[d] == 1 && x.dims[d] > 1) {
      return std::make_unique<ColumnKernel>(request, axis, d, is_log);
    }
  }
  return nullptr;
}

}  // namespace regraft::cpu
