#include "engine/device_run.h"

#include <algorithm>

#include "base/fail.h"
#include "engine/core.h"

namespace regraft::engine {
namespace {

// Recordings hold some device memory: shadow refits need two sets of addresses.
constexpr size_t kMostRecorded = 8;
// After so many runs whose operands lay elsewhere each time, they are copied to fixed places.
constexpr int kPatience = 6;
// What kernels may rely on.
constexpr uintptr_t kOperandAlignment = 16;

bool is_aligned(const void* data) {
  return reinterpret_cast<uintptr_t>(data) % kOperandAlignment == 0;
}

}  // namespace

DeviceRun::DeviceRun(Core& core)
    : core_(core), device_(core.device()), last_(device_.make_event()) {}

DeviceRun::~DeviceRun() = default;

void DeviceRun::begin(backends::Stream stream) {
  is_recording_ = device_.is_recording(stream);
  // A recording is ordered by whoever launches it.
  if (has_run_ && stream != stream_ && !is_recording_) last_->order(stream);
  stream_ = stream;
}

std::byte* DeviceRun::stage(size_t operand, size_t bytes) {
  staged_.resize(std::max(staged_.size(), operand + 1));
  Staged& staged = staged_[operand];
  if (staged.bytes < bytes) {
    staged.memory = allocate(device_, bytes, core_.options().memory_limit);
    staged_bytes_ += bytes - staged.bytes;
    staged.bytes = bytes;
  }
  return staged.memory.get();
}

// A recording that is launched later would read and write memory of the host without waiting.
void DeviceRun::check_recordable(std::span<const TensorView> inputs,
                                 std::span<const MutableTensorView> outputs) const {
  std::vector<std::string> problems;
  const auto check = [&](const char* what, const auto& ports, size_t i, const auto& view) {
    if (view.count() == 0 || device_.holds(view.data)) return;
    problems.push_back(base::cat(what, " '", ports[i].name, "' lies on the host"));
  };
  for (size_t i = 0; i < inputs.size(); ++i)
    check("input", core_.plan().inputs, i, inputs[i]);
  for (size_t i = 0; i < outputs.size(); ++i)
    check("output", core_.plan().outputs, i, outputs[i]);
  if (problems.empty()) return;
  base::fail("engine", ErrorCode::State, "a run is being recorded: want all operands on ",
             device_.name(), "; ", base::join(problems, "; "));
}

// Where kernels find input `i`.
std::byte* DeviceRun::place_input(size_t i, const TensorView& view) {
  const bool on_device = device_.holds(view.data);
  const bool as_it_is = on_device && view.is_contiguous() && is_aligned(view.data);
  if (as_it_is && changes_ < kPatience) return const_cast<std::byte*>(view.as<std::byte>());
  std::byte* to = stage(i, view.bytes());
  if (on_device && view.is_contiguous()) {
    device_.copy(to, view.data, view.bytes(), stream_);
  } else if (on_device) {
    device_.convert(view, MutableTensorView(to, view.dtype, view.dims), stream_);
  } else {
    waits_ = true;
    const void* data = view.data;
    if (!view.is_contiguous()) {
      row_major_.push_back(Tensor::copy_of(view));
      data = row_major_.back().view().data;
    }
    device_.copy(to, data, view.bytes(), stream_);
  }
  return to;
}

bool DeviceRun::repeats(const Recorded& run, const Binding& binding,
                        const std::vector<std::byte*>& bases, const std::byte* workspace) const {
  return run.binding == binding.id() && run.workspace == workspace && run.bases == bases;
}

void DeviceRun::launch(const Binding& binding, const std::vector<std::byte*>& bases,
                       std::byte* workspace) {
  if (is_recording_) {
    binding.run(bases.data(), workspace, stream_);
    return;
  }
  const auto known = std::find_if(recorded_.begin(), recorded_.end(), [&](const Recorded& run) {
    return repeats(run, binding, bases, workspace);
  });
  if (known != recorded_.end()) {
    std::rotate(recorded_.begin(), known, known + 1);
    ++recorded_.front().launches;
    recorded_.front().recording->launch(stream_);
    return;
  }
  const auto before = std::find_if(previous_.begin(), previous_.end(), [&](const Recorded& run) {
    return repeats(run, binding, bases, workspace);
  });
  if (before == previous_.end()) {
    // The first run loads and warms up what a recording must find ready.
    binding.run(bases.data(), workspace, stream_);
    previous_.push_back({binding.id(), bases, workspace, nullptr, 0});
    // A caller that holds a result while the next is made alternates between two places.
    constexpr size_t kRemembered = 4;
    if (previous_.size() > kRemembered) previous_.erase(previous_.begin());
    if (changes_ < kPatience) ++changes_;
    return;
  }
  if (changes_ < kPatience) changes_ = 0;
  previous_.erase(before);
  Recorded* const recorded = record(binding, bases, workspace);
  if (recorded == nullptr) {
    binding.run(bases.data(), workspace, stream_);
    return;
  }
  ++recorded->launches;
  recorded->recording->launch(stream_);
}

DeviceRun::Recorded* DeviceRun::record(const Binding& binding, const std::vector<std::byte*>& bases,
                                       std::byte* workspace) {
  auto recording = device_.record(
      [&](backends::Stream stream) { binding.run(bases.data(), workspace, stream); });
  if (!recording) return nullptr;
  recorded_.insert(recorded_.begin(), {binding.id(), bases, workspace, std::move(recording), 0});
  if (recorded_.size() > kMostRecorded) {
    last_->wait();  // It may still run.
    recorded_.pop_back();
  }
  return &recorded_.front();
}

bool DeviceRun::has_recorded(const Binding& binding) const {
  return std::any_of(recorded_.begin(), recorded_.end(),
                     [&](const Recorded& run) { return run.binding == binding.id(); });
}

void DeviceRun::prepare(const Binding& binding, std::span<std::byte* const> from,
                        std::span<std::byte* const> to, std::byte* workspace) {
  const auto slots = static_cast<std::ptrdiff_t>(from.size()) - 1;
  std::vector<std::vector<std::byte*>> wanted;
  for (const Recorded& run : recorded_) {
    // What ran once with these weights may not run again with the next.
    if (run.binding != binding.id() || run.workspace != workspace || run.launches < 2) continue;
    const auto first = run.bases.end() - slots;
    if (run.bases[kShape] != from[0] || !std::equal(first, run.bases.end(), from.begin() + 1)) {
      continue;
    }
    std::vector<std::byte*> bases = run.bases;
    bases[kShape] = to[0];
    std::copy(to.begin() + 1, to.end(), bases.end() - slots);
    wanted.push_back(std::move(bases));
  }
  // The last used stays in front.
  std::reverse(wanted.begin(), wanted.end());
  for (const std::vector<std::byte*>& bases : wanted) {
    const bool is_known = std::any_of(recorded_.begin(), recorded_.end(), [&](const auto& run) {
      return repeats(run, binding, bases, workspace);
    });
    if (!is_known && record(binding, bases, workspace) == nullptr) return;
  }
}

void DeviceRun::run(const Binding& binding, const Bank& bank, std::span<const TensorView> inputs,
                    std::span<const MutableTensorView> outputs, std::vector<std::byte*>& bases,
                    std::byte* workspace, const Runner* runner) {
  waits_ = false;
  if (is_recording_) check_recordable(inputs, outputs);
  is_recorded_ = is_recorded_ || is_recording_;
  size_t next = kFirst;
  for (size_t i = 0; i < inputs.size(); ++i, ++next) {
    if (inputs[i].count() > 0) bases[next] = place_input(i, inputs[i]);
  }
  std::vector<bool> copied(outputs.size(), false);
  for (size_t i = 0; i < outputs.size(); ++i, ++next) {
    const MutableTensorView& output = outputs[i];
    if (output.count() == 0) continue;
    const bool on_device = device_.holds(output.data);
    waits_ = waits_ || !on_device;
    copied[i] = !on_device || !is_aligned(output.data) || changes_ >= kPatience;
    bases[next] =
        copied[i] ? stage(inputs.size() + i, output.bytes()) : output.as_mutable<std::byte>();
  }
  if (runner != nullptr) {
    (*runner)(binding, bases.data(), workspace, stream_);
  } else {
    launch(binding, bases, workspace);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!copied[i]) continue;
    const std::byte* from = bases[kFirst + inputs.size() + i];
    device_.copy(outputs[i].mutable_data(), from, outputs[i].bytes(), stream_);
  }
  if (is_recording_) return;
  last_->record(stream_);
  has_run_ = true;
  bank.note_use(last_, core_.pool());
  if (waits_) {
    device_.synchronise(stream_);
    row_major_.clear();
  }
}

}  // namespace regraft::engine
