#include "backends/cuda/run/strided_copy.h"

#include "backends/cuda/run/pointwise.h"

namespace regraft::cuda {

StridedCopy::StridedCopy(CudaDevice& device, const Dims& dims, DType from, const Dims& from_strides,
                         DType to, const Dims& to_strides) {
  // Callers' memory may begin anywhere.
  const auto alignment = [](DType dtype) { return item_size(dtype); };
  launch_ = make_copy(device, {Place::input(0), from, dims, from_strides, alignment(from)},
                      {Place::output(0), to, dims, to_strides, alignment(to)});
}

void StridedCopy::run(const void* from, void* to, Stream stream) const {
  const void* inputs[] = {from};
  void* outputs[] = {to};
  launch_.run({inputs, outputs, nullptr, stream});
}

}  // namespace regraft::cuda
