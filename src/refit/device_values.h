#pragma once

#include "backends/device.h"
#include "regraft/tensor.h"

namespace regraft::refit {

// A row-major copy in host memory of a tensor that lies there or on the device.
Tensor to_host(backends::Device& device, const TensorView& view);

// Enqueues copying `from`, of the host or the device, of any strides and dtype, to row-major memory
// of the device. Host memory must stay until the device's work stream has been synchronised; what
// must be made of it on the way is kept in `kept`.
void to_device(backends::Device& device, const TensorView& from, const MutableTensorView& to,
               std::vector<Tensor>& kept);

}  // namespace regraft::refit
