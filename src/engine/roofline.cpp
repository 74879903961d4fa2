#include "engine/roofline.h"

#include <algorithm>
#include <array>
#include <functional>
#include <random>

#include "base/fail.h"
#include "base/stream_copy.h"
#include "tensor/copy.h"

namespace regraft::engine {
namespace {

constexpr int kTries = 6;

// The shortest of some tries.
double least_seconds(backends::Device& device,
                     const std::function<void(backends::Stream)>& enqueue) {
  const auto laps = device.make_laps(2);
  double least = 0;
  for (int i = 0; i < kTries; ++i) {
    laps->mark(0, device.work_stream());
    enqueue(device.work_stream());
    laps->mark(1, device.work_stream());
    device.synchronise(device.work_stream());
    const double seconds = laps->seconds().front();
    if (i == 0 || seconds < least) least = seconds;
  }
  return std::max(least, 1e-9);
}

// A pattern, then copies of all that is there already. Zeros would draw less power and run faster.
void fill(backends::Device& device, std::byte* to, size_t bytes, DType dtype) {
  constexpr int64_t kCount = 1 << 14;
  std::mt19937 engine(1);
  std::normal_distribution<float> normal(0.F, 0.5F);
  const Tensor numbers(DType::F32, {kCount}), pattern(dtype, {kCount});
  for (int64_t i = 0; i < kCount; ++i)
    numbers.mutable_view().as_mutable<float>()[i] = normal(engine);
  copy(numbers.view(), pattern.mutable_view());
  const backends::Stream stream = device.work_stream();
  size_t done = std::min(bytes, pattern.view().bytes());
  device.copy(to, pattern.view().data, done, stream);
  device.synchronise(stream);
  while (done < bytes) {
    const size_t next = std::min(done, bytes - done);
    device.copy(to + done, to, next, stream);
    done += next;
  }
}

}  // namespace

Roofline::Roofline(std::string_view backend, backends::Device& device)
    : backend_(backend), device_(device) {
  measure_copy();
}

void Roofline::measure_copy() {
  // More than caches hold.
  const size_t bytes = size_t{device_.is_host() ? 128U : 512U} << 20;
  const std::shared_ptr<std::byte> from = device_.allocate(bytes), to = device_.allocate(bytes);
  fill(device_, from.get(), bytes, DType::F32);
  fill(device_, to.get(), bytes, DType::F32);
  const base::BlockCopies by_all_threads({{to.get(), from.get(), bytes}});
  const double seconds = least_seconds(device_, [&](backends::Stream stream) {
    device_.is_host() ? by_all_threads.run() : device_.copy(to.get(), from.get(), bytes, stream);
  });
  peaks_.push_back({"copy", 2 * static_cast<double>(bytes) / seconds,
                    base::cat("measured: copy of ", bytes >> 20, " MiB")});
}

double Roofline::measure_product(const std::string& kind) {
  const bool is_tf32 = kind == "tf32";
  const DType dtype = is_tf32 ? DType::F32 : try_parse_dtype(kind).value_or(DType::F32);
  // What fills the machine for some milliseconds.
  const int64_t size = backend_ == "reference" ? 64
                       : device_.is_host()     ? 1024
                       : item_size(dtype) == 2 ? 8192
                                               : 4096;
  plan::Step step;
  step.kernel = backend_ + ".matmul";
  step.inputs = {0, 1};
  step.outputs = {2};
  backends::Operand operand;
  operand.present = true;
  operand.dtype = dtype;
  operand.dims = {size, size};
  operand.strides = {size, 1};
  operand.packing.bytes = static_cast<size_t>(size * size) * item_size(dtype);
  backends::KernelRequest request{step,     {},    {operand, operand}, {operand},
                                  &device_, false, "fastest"};
  if (is_tf32) request.attributes.set("tf32", true);
  try {
    const auto kernel = backends::run_backend(step.kernel).prepare(request);
    std::vector<std::shared_ptr<std::byte>> memory;
    for (int i = 0; i < 3; ++i) {
      memory.push_back(device_.allocate(operand.packing.bytes));
      fill(device_, memory.back().get(), operand.packing.bytes, dtype);
    }
    memory.push_back(device_.allocate(std::max<size_t>(kernel->workspace_bytes(), 1)));
    const std::array<const void*, 2> inputs = {memory[0].get(), memory[1].get()};
    const std::array<void*, 1> outputs = {memory[2].get()};
    const double seconds = least_seconds(device_, [&](backends::Stream stream) {
      kernel->run({inputs, outputs, memory[3].get(), stream});
    });
    const auto n = static_cast<double>(size);
    peaks_.push_back({kind, 2 * n * n * n / seconds,
                      base::cat("measured: product ", size, "x", size, "x", size)});
    return peaks_.back().per_second;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported && error.code() != ErrorCode::OutOfMemory) throw;
    return 0;
  }
}

double Roofline::seconds(const StepWork& work) {
  const double moving = static_cast<double>(work.bytes) / peaks_.front().per_second;
  if (work.flops == 0) return moving;
  const auto known = flops_.find(work.kind);
  const double peak =
      known != flops_.end() ? known->second : (flops_[work.kind] = measure_product(work.kind));
  return peak > 0 ? std::max(moving, static_cast<double>(work.flops) / peak) : moving;
}

}  // namespace regraft::engine
