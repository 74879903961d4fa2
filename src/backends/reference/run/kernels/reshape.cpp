#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void reshape(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  if (x.count() != out.count()) {
    base::fail("engine", ErrorCode::InvalidArgument, "reshape: cannot make ", to_string(out.dims),
               " of ", to_string(x.dims));
  }
  if (out.is_contiguous()) return copy(x, {out.mutable_data(), out.dtype, x.dims});
  const Tensor flat = x.is_contiguous() ? Tensor() : Tensor::copy_of(x);
  copy(TensorView(flat ? flat.view().data : x.data, x.dtype, out.dims), out);
}

constexpr KernelDef kKernels[] = {{"reshape", reshape}};

}  // namespace

extern const KernelFile k_kernels_reshape;
const KernelFile k_kernels_reshape = kKernels;

}  // namespace regraft::reference
