#pragma once

#include "backends/cuda/run/kernel.h"

namespace regraft::cuda {

// Whether the step's products of f32 may be calculated in TF32: 8 bits of exponent and 10 of
// mantissa, sums in f32.
inline bool allows_tf32(const KernelRequest& request) {
  return request.outputs[0].dtype == DType::F32 && !request.attributes.is_none("tf32") &&
         request.attributes.flag("tf32");
}

}  // namespace regraft::cuda
