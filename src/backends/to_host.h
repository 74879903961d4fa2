#pragma once

#include "backends/device.h"
#include "regraft/tensor.h"

namespace regraft::backends {

// A row-major copy in host memory of a tensor that lies there or on the device.
Tensor to_host(Device& device, const TensorView& view);

}  // namespace regraft::backends
