#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void expand(const Call& call) {
  const TensorView& x = call.in(0);
  const Dims& dims = call.out(0).dims;
  copy(TensorView(x.data, x.dtype, dims, broadcast_strides(x, dims)), call.out(0));
}

constexpr KernelDef kKernels[] = {{"expand", expand}};

}  // namespace

extern const KernelFile k_kernels_expand;
const KernelFile k_kernels_expand = kKernels;

}  // namespace regraft::reference
