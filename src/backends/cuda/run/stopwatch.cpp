#include "backends/cuda/run/stopwatch.h"

#include <algorithm>
#include <random>

#include "tensor/copy.h"

namespace regraft::cuda {
namespace {

constexpr int kRepetitions = 8, kReplays = 5;
// Twice the second-level cache of the largest GPUs.
constexpr size_t kBeyondCache = size_t{128} << 20;

size_t extent(const Operand& operand) {
  if (is_empty(operand)) return 0;
  int64_t last = 0;
  for (size_t d = 0; d < operand.dims.size(); ++d)
    last += (operand.dims[d] - 1) * std::abs(operand.strides[d]);
  // The strides of packed constants say nothing.
  last = std::max(last + 1, numel(operand.dims));
  return rounded(std::max(static_cast<size_t>(last) * item_size(operand.dtype),
                          operand.is_constant ? operand.packing.bytes : 0));
}

// Numbers of a normal distribution; zeros would draw less power and run faster.
std::vector<std::byte> pattern(DType dtype, size_t count) {
  std::mt19937 engine(1);
  std::normal_distribution<float> normal(0.F, 0.5F);
  const Dims dims = {static_cast<int64_t>(count)};
  const Tensor numbers(DType::F32, dims);
  for (size_t i = 0; i < count; ++i)
    numbers.mutable_view().as_mutable<float>()[i] = normal(engine);
  std::vector<std::byte> bytes(count * item_size(dtype));
  copy(numbers.view(), MutableTensorView(bytes.data(), dtype, dims));
  return bytes;
}

}  // namespace

Stopwatch::Stopwatch(CudaDevice& device, const KernelRequest& request,
                     std::span<const Candidate> candidates)
    : device_(device) {
  size_t constants = 0, workspace = 0;
  for (const Operand& input : request.inputs) {
    if (input.present && input.is_constant) constants += extent(input);
  }
  for (const Candidate& candidate : candidates)
    workspace = std::max(workspace, candidate.workspace_bytes);
  const size_t sets =
      std::clamp<size_t>(kBeyondCache / std::max<size_t>(constants, 1), 1, kRepetitions);
  arguments_.resize(sets);
  const auto allocate = [&](const Operand& operand) {
    memory_.push_back(device_.allocate(extent(operand)));
    fill(memory_.back().get(), extent(operand), operand.dtype);
    return memory_.back().get();
  };
  for (const Operand& input : request.inputs) {
    void* shared = input.present && !input.is_constant ? allocate(input) : nullptr;
    for (Arguments& set : arguments_)
      set.inputs.push_back(input.present && input.is_constant ? allocate(input) : shared);
  }
  for (const Operand& output : request.outputs) {
    void* shared = output.present ? allocate(output) : nullptr;
    for (Arguments& set : arguments_)
      set.outputs.push_back(shared);
  }
  memory_.push_back(device_.allocate(workspace));
  workspace_ = memory_.back().get();
  device_.synchronise(device_.work_stream());
  // Last: the destructor of a half-made object does not run.
  check(driver().cuEventCreate(&begin_, 0), "create an event");
  check(driver().cuEventCreate(&end_, 0), "create an event");
}

Stopwatch::~Stopwatch() {
  driver().cuStreamSynchronize(as_stream(device_.work_stream()));
  for (CUevent event : {begin_, end_}) {
    if (event != nullptr) driver().cuEventDestroy(event);
  }
}

// A pattern, then copies of all that is there already.
void Stopwatch::fill(std::byte* to, size_t bytes, DType dtype) {
  constexpr size_t kCount = size_t{1} << 14;
  static std::mutex mutex;
  static std::map<DType, std::vector<std::byte>> patterns;
  const std::vector<std::byte>* numbers = nullptr;
  {
    const std::lock_guard lock(mutex);
    std::vector<std::byte>& made = patterns[dtype];
    if (made.empty()) made = pattern(dtype, kCount);
    numbers = &made;
  }
  size_t done = std::min(bytes, numbers->size());
  const Stream stream = device_.work_stream();
  device_.copy(to, numbers->data(), done, stream);
  while (done < bytes) {
    const size_t next = std::min(done, bytes - done);
    device_.copy(to + done, to, next, stream);
    done += next;
  }
}

KernelArguments Stopwatch::arguments(size_t repetition, Stream stream) const {
  const Arguments& set = arguments_[repetition % arguments_.size()];
  return {set.inputs, set.outputs, workspace_, stream};
}

double Stopwatch::replay(const backends::Recording& recording) const {
  const CUstream stream = as_stream(device_.work_stream());
  check(driver().cuEventRecord(begin_, stream), "record an event");
  recording.launch(stream);
  check(driver().cuEventRecord(end_, stream), "record an event");
  check(driver().cuEventSynchronize(end_), "wait for the device");
  float ms = 0;
  check(driver().cuEventElapsedTime(&ms, begin_, end_), "time a graph");
  return double{ms} / kRepetitions;
}

std::optional<double> Stopwatch::time(const Candidate& candidate, double least) {
  try {
    // Loads the kernel, which must not happen while recording.
    candidate.run(arguments(0, device_.work_stream()));
    device_.synchronise(device_.work_stream());
    const auto recording = device_.record([&](Stream stream) {
      for (size_t i = 0; i < kRepetitions; ++i)
        candidate.run(arguments(i, stream));
    });
    constexpr double kHopeless = 1.5;
    double first = replay(*recording);
    first = std::min(first, replay(*recording));
    if (least > 0 && first > kHopeless * least) return first;
    std::vector<double> times;
    for (int i = 0; i < kReplays; ++i)
      times.push_back(replay(*recording));
    std::nth_element(times.begin(), times.begin() + kReplays / 2, times.end());
    return times[kReplays / 2];
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Internal) throw;
    return std::nullopt;
  }
}

}  // namespace regraft::cuda
