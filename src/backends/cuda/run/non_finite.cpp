#include "backends/cuda/run/non_finite.h"

#include "backends/cuda/run/compiler.h"
#include "backends/cuda/run/launch.h"

namespace regraft::cuda {
namespace {

// Two reals count for each complex element.
DType part_of(DType dtype) {
  return dtype == DType::C64 ? DType::F32 : dtype == DType::C128 ? DType::F64 : dtype;
}

void count(CudaDevice& device, const TensorView& tensor, void* counter, Stream stream) {
  const DType part = part_of(tensor.dtype);
  if (!is_floating(part) || tensor.count() == 0) return;
  const int64_t elements = tensor.count() * (part == tensor.dtype ? 1 : 2);
  std::string source(kernel_source("prelude"));
  source += base::cat("typedef ", type_name(part), " T0;\n");
  source += kernel_source("non_finite");
  Launch::Words words;
  words.add(Place::input(0));
  words.add(Place::output(0));
  words.add(elements);
  constexpr unsigned kThreads = 256;
  const int64_t most = int64_t{device.multiprocessors()} * 8;
  const auto blocks = std::min<int64_t>((elements + kThreads - 1) / kThreads, most);
  const Launch launch(device.function(source), std::move(words), static_cast<unsigned>(blocks),
                      kThreads);
  const void* inputs[] = {tensor.data};
  void* outputs[] = {counter};
  launch.run({inputs, outputs, nullptr, stream});
}

}  // namespace

std::vector<uint64_t> count_non_finite(CudaDevice& device, const std::vector<TensorView>& tensors,
                                       Stream stream) {
  std::vector<uint64_t> counts(tensors.size(), 0);
  const size_t bytes = counts.size() * sizeof(uint64_t);
  if (bytes == 0) return counts;
  const std::shared_ptr<std::byte> counters = device.allocate(bytes);
  check(driver().cuMemsetD8Async(as_pointer(counters.get()), 0, bytes, as_stream(stream)),
        "clear memory");
  for (size_t i = 0; i < tensors.size(); ++i)
    count(device, tensors[i], counters.get() + i * sizeof(uint64_t), stream);
  device.copy(counts.data(), counters.get(), bytes, stream);
  device.synchronise(stream);
  return counts;
}

}  // namespace regraft::cuda
