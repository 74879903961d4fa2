#include "backends/reference/run/indexing.h"

namespace regraft::reference {
namespace {

void embedding(const Call& call) {
  const TensorView& weight = call.in(0);
  const MutableTensorView& out = call.out(0);
  const Dims& dims = call.in(1).dims;
  const std::vector<int64_t> indices = read_indices(call.in(1));
  for (const int64_t index : indices)
    check_index("embedding", index, weight.dims[0]);
  const int64_t width = weight.dims[1], step = weight.strides[1], out_step = out.strides.back();
  visit(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    base::parallel_for(static_cast<int64_t>(indices.size()), (1 << 14) / (width + 1) + 1,
                       [&](int64_t begin, int64_t end) {
                         for (int64_t i = begin; i < end; ++i) {
                           const T* from =
                               weight.as<T>() + indices[static_cast<size_t>(i)] * weight.strides[0];
                           T* to = out.as_mutable<T>() + offset_of(i, dims, out.strides);
                           for (int64_t k = 0; k < width; ++k)
                             to[k * out_step] = from[k * step];
                         }
                       });
  });
}

constexpr KernelDef kKernels[] = {{"embedding", embedding}};

}  // namespace

extern const KernelFile k_kernels_embedding;
const KernelFile k_kernels_embedding = kKernels;

}  // namespace regraft::reference
