#include "backends/cuda/run/pinned_ring.h"

#include <algorithm>

#include "backends/cuda/run/pinned_pieces.h"

namespace regraft::cuda {
namespace {

CUdeviceptr pointer(const void* data) { return reinterpret_cast<CUdeviceptr>(data); }

// Where the allocation begins that holds the pointer; 0: no device's.
CUdeviceptr allocation_of(const void* data) {
  CUdeviceptr start = 0;
  const bool known = driver().cuPointerGetAttribute(&start, kPointerRangeStart, pointer(data)) == 0;
  return known ? start : 0;
}

// Whether `block` continues `whole` on both sides. Allocations may be neighbours by chance: a copy
// must not cross from one to the next.
bool continues(const base::BlockCopy& block, const base::BlockCopy& whole) {
  if (block.to != whole.to + whole.bytes || block.from != whole.from + whole.bytes) return false;
  const CUdeviceptr allocation = allocation_of(whole.to);
  return allocation != 0 && allocation == allocation_of(block.to);
}

void copy(const base::BlockCopy& block, CUstream stream) {
  check(driver().cuMemcpyAsync(pointer(block.to), pointer(block.from), block.bytes, stream),
        "copy memory");
}

}  // namespace

PinnedRing::Buffer& PinnedRing::current() {
  Buffer& buffer = buffers_[next_];
  if (buffer.memory == nullptr) {
    void* memory = nullptr;
    check(driver().cuMemHostAlloc(&memory, kBufferBytes, kHostAllocPortable), "pin memory");
    buffer.memory = static_cast<std::byte*>(memory);
    check(driver().cuEventCreate(&buffer.read, kEventDisableTiming), "create an event");
  }
  if (filled_ == 0 && buffer.is_used) {
    check(driver().cuEventSynchronize(buffer.read), "wait for the device");
    buffer.is_used = false;
  }
  return buffer;
}

void PinnedRing::upload(std::span<const base::BlockCopy> blocks, CUstream stream) {
  // What a copy that failed left behind.
  in_.clear();
  out_.clear();
  filled_ = 0;
  for (const base::BlockCopy& block : blocks) {
    if (block.bytes == 0) continue;
    if (is_pinned(block.from)) {
      copy(block, stream);
    } else {
      add(block, stream);
    }
  }
  flush(stream);
}

void PinnedRing::add(const base::BlockCopy& block, CUstream stream) {
  constexpr size_t kAlignment = 64;
  for (size_t done = 0; done < block.bytes;) {
    if (filled_ == kBufferBytes) flush(stream);
    std::byte* const at = current().memory + filled_;
    const size_t part = std::min(kBufferBytes - filled_, block.bytes - done);
    in_.push_back({at, block.from + done, part});
    out_.push_back({block.to + done, at, part});
    done += part;
    filled_ = std::min(kBufferBytes, (filled_ + part + kAlignment - 1) / kAlignment * kAlignment);
  }
}

void PinnedRing::flush(CUstream stream) {
  if (out_.empty()) return;
  Buffer& buffer = current();
  const base::BlockCopies copies(std::move(in_));
  copies.run();
  buffer.is_used = true;
  base::BlockCopy whole = out_[0];
  for (const base::BlockCopy& block : std::span(out_).subspan(1)) {
    if (continues(block, whole)) {
      whole.bytes += block.bytes;
      continue;
    }
    copy(whole, stream);
    whole = block;
  }
  copy(whole, stream);
  check(driver().cuEventRecord(buffer.read, stream), "record an event");
  in_.clear();
  out_.clear();
  filled_ = 0;
  next_ = (next_ + 1) % kBuffers;
}

}  // namespace regraft::cuda
