#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "backends/device.h"

namespace regraft::engine {

// Every larger piece of memory of the engine comes from here, so that tests can make each of them
// fail and hostile files cannot ask for more than the machine has.

inline constexpr size_t kAlignment = 64;

// 64-byte aligned, uninitialised, never null. Throws Error{"engine", OutOfMemory} when `bytes`
// passes `limit` (0: the machine's memory) or the allocation fails.
std::shared_ptr<std::byte> allocate(size_t bytes, size_t limit = 0);

// The same of a device's memory.
std::shared_ptr<std::byte> allocate(backends::Device& device, size_t bytes, size_t limit = 0);

// For tests: called before every allocation with its size; may throw. Null: none.
void set_allocation_hook(void (*hook)(size_t bytes));

// A piece of memory that several generations may share. Immutable once published, except by an
// in-place refit, which first makes sure that it is the only owner.
struct Block {
  const std::byte* data = nullptr;
  std::byte* writable = nullptr;  // Null for memory that is only borrowed (a mapped file).
  size_t bytes = 0;
  std::shared_ptr<const void> owner;
};

// Hands out blocks and takes their memory back when the last user lets go: touching fresh pages is
// 10 to 50 times slower than copying to pages that were used before. Thread-safe.
class BlockPool : public std::enable_shared_from_this<BlockPool> {
 public:
  BlockPool(size_t limit, bool keep_spare, backends::Device& device = backends::host_device())
      : device_(device), limit_(limit), keep_spare_(keep_spare) {}

  // A block of exactly `bytes`, recycled if one of that size is free. Its contents are undefined.
  // Spare memory of a device goes back where there would be none else.
  std::shared_ptr<Block> take(size_t bytes);
  // A block over memory of somebody else.
  static std::shared_ptr<Block> borrow(const void* data, size_t bytes,
                                       std::shared_ptr<const void> owner);
  // Work that was enqueued may still read blocks that come back, or go to another of their owners:
  // take() and wait() return when none is left.
  void wait_before_reuse(std::vector<std::shared_ptr<backends::Event>> events);
  void wait();
  size_t spare_bytes() const;
  // Frees what is not in use.
  void trim();

 private:
  std::shared_ptr<std::byte> allocate_or_trim(size_t bytes);
  void give_back(size_t bytes, std::shared_ptr<std::byte> memory) noexcept;

  backends::Device& device_;
  const size_t limit_;
  const bool keep_spare_;
  std::mutex waiting_mutex_;  // Who finds nothing to wait for must not pass who still waits.
  mutable std::mutex mutex_;
  std::map<size_t, std::vector<std::shared_ptr<std::byte>>> free_;
  std::vector<std::shared_ptr<backends::Event>> awaited_;
  size_t spare_ = 0;
};

}  // namespace regraft::engine
