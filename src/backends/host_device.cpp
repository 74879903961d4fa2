#include <chrono>
#include <cstdlib>
#include <cstring>

#include "backends/device.h"
#include "base/fail.h"
#include "tensor/copy.h"

namespace regraft::backends {
namespace {

class HostEvent final : public Event {
 public:
  void record(Stream) override {}
  void order(Stream) const override {}
  void wait() const override {}
};

class HostLaps final : public Laps {
 public:
  explicit HostLaps(size_t points) : times_(points) {}
  std::string_view clock() const override { return "the host's clock"; }
  void mark(size_t point, Stream) override { times_[point] = std::chrono::steady_clock::now(); }
  std::vector<double> seconds() const override {
    std::vector<double> out;
    for (size_t i = 1; i < times_.size(); ++i)
      out.push_back(std::chrono::duration<double>(times_[i] - times_[i - 1]).count());
    return out;
  }

 private:
  std::vector<std::chrono::steady_clock::time_point> times_;
};

void copy_all(std::span<const BlockCopy> blocks) {
  for (const BlockCopy& block : blocks)
    std::memcpy(block.to, block.from, block.bytes);
}

class HostUpload final : public Upload {
 public:
  void add(std::span<const BlockCopy> blocks) override { copy_all(blocks); }
  void finish() override {}
};

class HostDevice final : public Device {
 public:
  std::string_view name() const override { return "cpu"; }
  bool is_host() const override { return true; }
  size_t memory_bytes() const override { return SIZE_MAX; }
  std::shared_ptr<std::byte> allocate(size_t bytes) override {
    constexpr size_t kAlignment = 256;
    void* memory = std::aligned_alloc(kAlignment, (bytes + kAlignment) / kAlignment * kAlignment);
    if (memory == nullptr) {
      base::fail("backends", ErrorCode::OutOfMemory, "cannot allocate ", bytes, " bytes");
    }
    return {static_cast<std::byte*>(memory), std::free};
  }
  std::shared_ptr<std::byte> allocate_pinned(size_t bytes) override { return allocate(bytes); }
  bool holds(const void*) const override { return true; }
  void copy(void* to, const void* from, size_t bytes, Stream) override {
    std::memcpy(to, from, bytes);
  }
  void convert(const TensorView& from, const MutableTensorView& to, Stream) override {
    regraft::copy(from, to);
  }
  std::unique_ptr<Upload> begin_upload() override { return std::make_unique<HostUpload>(); }
  void copy_blocks(std::span<const BlockCopy> blocks) override { copy_all(blocks); }
  void clear(void* to, size_t bytes, Stream) override { std::memset(to, 0, bytes); }
  void count_non_finite(std::span<const TensorView>, std::span<uint64_t* const>) override {
    base::fail("backends", ErrorCode::Internal, "the host counts where it reads");
  }
  std::unique_ptr<Recording> repeat_copies(std::span<const BlockCopy>) override { return nullptr; }
  std::unique_ptr<Recording> repeat_counts(std::span<const TensorView>,
                                           std::span<uint64_t* const>) override {
    return nullptr;
  }
  void synchronise(Stream) override {}
  void synchronise_all() override {}
  std::shared_ptr<Event> make_event() override { return std::make_shared<HostEvent>(); }
  std::unique_ptr<Laps> make_laps(size_t points) override {
    return std::make_unique<HostLaps>(points);
  }
  std::unique_ptr<Recording> record_side_by_side(std::span<const Enqueue>) override {
    return nullptr;
  }
};

}  // namespace

Allocation Device::allocation_of(const void* data) const {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return {address, address + 1, holds(data)};
}

void Device::merge_lora(std::span<const LoraMerge>) {
  base::fail("backends", ErrorCode::Unsupported, name(), ": adapters are not merged here");
}

Device& host_device() {
  static HostDevice device;
  return device;
}

}  // namespace regraft::backends
