#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

void cat(const Call& call) {
  const MutableTensorView& out = call.out(0);
  const size_t axis = axis_of(call.attributes().integer("dim"), out.dims.size());
  int64_t at = 0;
  for (size_t i = 0; i < call.input_count(); ++i) {
    const TensorView& x = call.in(i);
    if (x.dims == Dims{0}) continue;
    MutableTensorView part = out;
    if (x.dims.size() == out.dims.size()) part.dims[axis] = x.dims[axis];
    if (part.dims != x.dims || x.dims[axis] > out.dims[axis] - at) {
      base::fail("engine", ErrorCode::InvalidArgument, "cat: ", to_string(x.dims),
                 " does not fit into ", to_string(out.dims));
    }
    const int64_t offset = at * out.strides[axis];
    part.data = out.as<char>() + offset * static_cast<int64_t>(item_size(out.dtype));
    copy(x, part);
    at += x.dims[axis];
  }
}

constexpr KernelDef kKernels[] = {{"cat", cat}};

}  // namespace

extern const KernelFile k_kernels_cat;
const KernelFile k_kernels_cat = kKernels;

}  // namespace regraft::reference
