#include <algorithm>

#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

namespace regraft::reference {
namespace {

int64_t bound(int64_t at, int64_t size) {
  return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
}

// The part of `x` that the attributes dim, start, end and step name; it must have dims `want`.
MutableTensorView part(const TensorView& x, const Attributes& attributes, const Dims& want) {
  MutableTensorView view(const_cast<void*>(x.data), x.dtype, x.dims, x.strides);
  const size_t axis = axis_of(attributes.integer("dim"), x.dims.size());
  const int64_t start = bound(attributes.integer("start"), x.dims[axis]);
  const int64_t end = bound(attributes.integer("end"), x.dims[axis]);
  const int64_t step = attributes.integer("step");
  view.dims[axis] = std::max<int64_t>(0, end - start + step - 1) / step;
  view.strides[axis] *= step;
  view.data = x.as<char>() + start * x.strides[axis] * static_cast<int64_t>(item_size(x.dtype));
  if (view.dims != want) {
    base::fail("engine", ErrorCode::InvalidArgument, "slice of ", to_string(x.dims), ": want ",
               to_string(want), ", have ", to_string(view.dims));
  }
  return view;
}

void slice(const Call& call) {
  copy(part(call.in(0), call.attributes(), call.out(0).dims), call.out(0));
}

void slice_scatter(const Call& call) {
  const TensorView& source = call.in(1);
  copy(call.in(0), call.out(0));
  copy(source, part(call.out(0), call.attributes(), source.dims));
}

constexpr KernelDef kKernels[] = {{"slice", slice}, {"slice_scatter", slice_scatter}};

}  // namespace

extern const KernelFile k_kernels_slice;
const KernelFile k_kernels_slice = kKernels;

}  // namespace regraft::reference
