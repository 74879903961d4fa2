#include <cstring>

#include "backends/cpu/run/kernel.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

// Rows of a table [rows, width] by i64 or i32 indices of any strides.
class EmbeddingKernel final : public Kernel {
 public:
  explicit EmbeddingKernel(const KernelRequest& request)
      : indices_(request.inputs[1]),
        rows_(request.inputs[0].dims[0]),
        row_stride_(request.inputs[0].strides[0] *
                    static_cast<int64_t>(item_size(request.inputs[0].dtype))),
        row_bytes_(request.inputs[0].dims[1] *
                   static_cast<int64_t>(item_size(request.inputs[0].dtype))) {
    is_dense_ = indices_.strides == contiguous_strides(indices_.dims);
  }

  void run(const KernelArguments& arguments) const override {
    const int64_t count = numel(indices_.dims);
    constexpr int64_t kGrain = 1 << 16;  // Bytes that are worth a thread.
    base::parallel_for(count, kGrain / (row_bytes_ + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t row = index(arguments.inputs[1], i);
        if (row < 0 || row >= rows_) {
          base::fail("engine", ErrorCode::InvalidArgument, "embedding: index ", row,
                     " is outside an axis of size ", rows_);
        }
        std::memcpy(static_cast<char*>(arguments.outputs[0]) + i * row_bytes_,
                    static_cast<const char*>(arguments.inputs[0]) + row * row_stride_,
                    static_cast<size_t>(row_bytes_));
      }
    });
  }
  std::string tactic() const override { return "rows"; }

 private:
  int64_t index(const void* data, int64_t i) const {
    int64_t offset = i;
    if (!is_dense_) {
      offset = 0;
      for (size_t d = indices_.dims.size(); d-- > 0;) {
        offset += i % indices_.dims[d] * indices_.strides[d];
        i /= indices_.dims[d];
      }
    }
    return indices_.dtype == DType::I64 ? static_cast<const int64_t*>(data)[offset]
                                        : static_cast<const int32_t*>(data)[offset];
  }

  Operand indices_;
  int64_t rows_, row_stride_, row_bytes_;
  bool is_dense_ = false;
};

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  const Operand& table = request.inputs[0];
  const DType indices = request.inputs[1].dtype;
  if (indices != DType::I64 && indices != DType::I32) {
    unsupported(request, "indices are ", name(indices));
  }
  const Operand& out = request.outputs[0];
  if (table.dtype != out.dtype || (table.dims[1] != 1 && table.strides[1] != 1) ||
      out.strides != contiguous_strides(out.dims)) {
    unsupported(request, "rows must be contiguous");
  }
  return std::make_unique<EmbeddingKernel>(request);
}

constexpr KernelDef kKernels[] = {{"embedding", &prepare}};

}  // namespace

extern const KernelFile k_kernels_embedding;
const KernelFile k_kernels_embedding = kKernels;

}  // namespace regraft::cpu
