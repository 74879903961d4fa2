#include "backends/to_host.h"

#include "tensor/copy.h"

namespace regraft::backends {

Tensor to_host(Device& device, const TensorView& view) {
  if (device.is_host() || view.count() == 0 || !device.holds(view.data)) {
    return Tensor::copy_of(view);
  }
  const Stream stream = device.work_stream();
  Tensor out(view.dtype, view.dims);
  TensorView from = view;
  std::shared_ptr<std::byte> row_major;
  if (!view.is_contiguous()) {
    row_major = device.allocate(view.bytes());
    device.convert(view, MutableTensorView(row_major.get(), view.dtype, view.dims), stream);
    from = TensorView(row_major.get(), view.dtype, view.dims);
  }
  device.copy(out.mutable_view().mutable_data(), from.data, from.bytes(), stream);
  device.synchronise(stream);
  return out;
}

}  // namespace regraft::backends
