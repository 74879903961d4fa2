#include "backends/cuda/run/shifted_rows.h"

#include "backends/cuda/run/compiler.h"

namespace regraft::cuda {

Launch make_shifted_rows(CudaDevice& device, const LaunchOperand& from, const LaunchOperand& to) {
  constexpr unsigned kThreads = 256;
  const std::string source = base::cat(kernel_source("prelude"), "typedef ", raw_name(to.dtype),
                                       " T;\n", kernel_source("shifted_rows"));
  Launch::Words words;
  words.add(from.place);
  words.add(to.place);
  words.add(to.dims[0]);
  words.add(to.dims[1]);
  words.add(from.strides[0]);
  words.add(to.strides[0]);
  const int64_t blocks = std::min<int64_t>(to.dims[0], 1 << 20);
  return {device.function(source), std::move(words), static_cast<unsigned>(blocks), kThreads};
}

}  // namespace regraft::cuda
