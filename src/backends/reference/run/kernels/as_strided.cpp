#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void as_strided(const Call& call) {
  const TensorView& x = call.in(0);
  const MutableTensorView& out = call.out(0);
  const Dims strides = call.attributes().integers("strides");
  const int64_t offset = call.attributes().integer("offset");
  if (out.count() == 0) return;
  int64_t last = offset;
  for (size_t i = 0; i < strides.size(); ++i)
    last += (out.dims[i] - 1) * strides[i];
  if (offset < 0 || last >= x.count()) {
    base::fail("engine", ErrorCode::InvalidArgument, "as_strided: element ", last,
               " is outside a tensor of ", x.count());
  }
  const Tensor flat = x.is_contiguous() ? Tensor() : Tensor::copy_of(x);
  const char* data = flat ? flat.view().as<char>() : x.as<char>();
  data += static_cast<size_t>(offset) * item_size(x.dtype);
  copy(TensorView(data, x.dtype, out.dims, strides), out);
}

constexpr KernelDef kKernels[] = {{"as_strided", as_strided}};

}  // namespace

extern const KernelFile k_kernels_as_strided;
const KernelFile k_kernels_as_strided = kKernels;

}  // namespace regraft::reference
