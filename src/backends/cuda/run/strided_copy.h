#pragma once

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// Copies a tensor between two layouts, converting the dtype in one rounding.
class StridedCopy {
 public:
  StridedCopy(CudaDevice& device, const Dims& dims, DType from, const Dims& from_strides, DType to,
              const Dims& to_strides);
  void run(const void* from, void* to, Stream stream) const;

 private:
  Launch launch_;
};

}  // namespace regraft::cuda
