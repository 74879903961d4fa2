#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/stream_copy.h"
#include "regraft/tensor.h"
#include "regraft/weight_source.h"

namespace regraft::backends {

// A queue of work on a device; null is the host, or a device's default stream.
using Stream = void*;

// A point in a stream's work. Recorded again, it stands for the new point. Thread-safe.
class Event {
 public:
  virtual ~Event() = default;
  virtual void record(Stream stream) = 0;
  // Makes what is enqueued to `stream` from now on wait for the point.
  virtual void order(Stream stream) const = 0;
  // Blocks the calling thread until the point is reached.
  virtual void wait() const = 0;
};

using base::BlockCopy;

// A weight and what to add to it (SourceTensor::terms says how), all in memory of one device.
struct LoraMerge {
  TensorView base;     // Row-major, floating, of two dimensions.
  void* to = nullptr;  // The sum, laid out as `base`; may be its memory.
  // At least one, each with A and B of two dimensions, of any strides.
  std::vector<LoraTerm> terms;
};

// Launches recorded once and repeated as a whole. Not thread-safe.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void launch(Stream stream) const = 0;
};

// Points in a stream's work and the time between them. Not thread-safe.
class Laps {
 public:
  virtual ~Laps() = default;
  // May be recorded, and repeated with the recording, where may_be_recorded().
  virtual void mark(size_t point, Stream stream) = 0;
  virtual bool may_be_recorded() const { return true; }
  // What tells the time: "CUDA events".
  virtual std::string_view clock() const = 0;
  // Between each point and the next, as they were marked last. Synchronise the stream before.
  virtual std::vector<double> seconds() const = 0;
};

// Copies from host memory, which must stay as it is until the work stream has been synchronised.
// Not thread-safe.
class Upload {
 public:
  // What was begun and not finished is waited for by the work stream, too.
  virtual ~Upload() = default;
  // Enqueues copies that wait for what the work stream has now.
  virtual void add(std::span<const BlockCopy> blocks) = 0;
  // The last call: what is enqueued to the work stream from now on finds them done.
  virtual void finish() = 0;
};

struct Allocation {
  uintptr_t begin = 0, end = 0;  // Addresses.
  bool is_held = false;          // Whether kernels can read them.
};

// The memory that the kernels of a backend work on, and the order of work on it. Every byte that a
// kernel touches comes from its device. Thread-safe.
class Device {
 public:
  virtual ~Device() = default;
  // "cpu", "cuda:0".
  virtual std::string_view name() const = 0;
  // Kernels run when they are called and read any memory: streams and events mean nothing.
  virtual bool is_host() const { return false; }
  // What decides which kernels exist and how they calculate: chip, driver, libraries. Empty for the
  // host, whose facts are plan::machine_facts().
  virtual std::string facts() const { return ""; }
  virtual size_t memory_bytes() const = 0;

  // Aligned to at least 256 bytes, uninitialised, never null. Throws Error{OutOfMemory}.
  virtual std::shared_ptr<std::byte> allocate(size_t bytes) = 0;
  // Memory of the host that copies of the device reach by themselves: nobody waits for them. Throws
  // Error{OutOfMemory}.
  virtual std::shared_ptr<std::byte> allocate_pinned(size_t bytes) = 0;
  // Whether kernels can read the memory. Memory of another device: Error{Mismatch}.
  virtual bool holds(const void* data) const = 0;
  // The same of all memory around `data`, or of that address alone where no more is known.
  virtual Allocation allocation_of(const void* data) const;

  // A stream for work that no caller orders: building and replacing weights.
  virtual Stream work_stream() const { return nullptr; }
  // Copies between host and device in any direction, in the stream's order. Host memory must stay
  // as it is until the stream has been synchronised.
  virtual void copy(void* to, const void* from, size_t bytes, Stream stream) = 0;
  virtual void clear(void* to, size_t bytes, Stream stream) = 0;
  // Copies elements of any strides and dtypes, both of this device, converting in one rounding.
  virtual void convert(const TensorView& from, const MutableTensorView& to, Stream stream) = 0;
  virtual std::unique_ptr<Upload> begin_upload() = 0;
  void upload(std::span<const BlockCopy> blocks) {
    const auto upload = begin_upload();
    upload->add(blocks);
    upload->finish();
  }
  // The rest are enqueued to the work stream.
  // Many copies within the device.
  virtual void copy_blocks(std::span<const BlockCopy> blocks) = 0;
  // Adds the numbers of NaN and infinite elements of row-major tensors to counters, both of this
  // device; a complex element counts once for each of its parts.
  virtual void count_non_finite(std::span<const TensorView> tensors,
                                std::span<uint64_t* const> counters) = 0;
  // The same two, to be run with these very operands again and again.
  virtual std::unique_ptr<Recording> repeat_copies(std::span<const BlockCopy> blocks) = 0;
  virtual std::unique_ptr<Recording> repeat_counts(std::span<const TensorView> tensors,
                                                   std::span<uint64_t* const> counters) = 0;
  // All of them at once. Throws Error{Unsupported}, as by default.
  virtual void merge_lora(std::span<const LoraMerge> merges);

  // Blocks the calling thread until the stream's work is done; throws what went wrong in it.
  virtual void synchronise(Stream stream) = 0;
  // Of all streams.
  virtual void synchronise_all() = 0;
  virtual std::shared_ptr<Event> make_event() = 0;
  virtual std::unique_ptr<Laps> make_laps(size_t points) = 0;
  // The same by what sees the work of each lap alone; null: there is no such.
  virtual std::unique_ptr<Laps> try_make_exact_laps(size_t /*points*/) { return nullptr; }
  // Whether somebody records what is enqueued to `stream`, to repeat it.
  virtual bool is_recording(Stream) const { return false; }
  using Enqueue = std::function<void(Stream)>;
  // What `enqueue` enqueues to the stream that it is given; nothing runs yet. Null when the device
  // cannot record.
  std::unique_ptr<Recording> record(const Enqueue& enqueue) {
    return record_side_by_side({&enqueue, 1});
  }
  // The same of several that do not depend on each other, at least one. Those behind the first are
  // one after the other and go before all other work of the device: they must be short.
  virtual std::unique_ptr<Recording> record_side_by_side(std::span<const Enqueue> branches) = 0;

  // Between the two, calls of the current thread are for this device. May be nested.
  virtual void enter() const {}
  virtual void leave() const noexcept {}
};

// The calling thread's work is for `device` while alive.
class UseDevice {
 public:
  explicit UseDevice(const Device& device) : device_(device) { device_.enter(); }
  ~UseDevice() { device_.leave(); }
  UseDevice(const UseDevice&) = delete;
  UseDevice& operator=(const UseDevice&) = delete;

 private:
  const Device& device_;
};

Device& host_device();

}  // namespace regraft::backends
