#include "engine/memory.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include <sys/mman.h>
#include <unistd.h>

#include "base/fail.h"

namespace regraft::engine {
namespace {

std::atomic<void (*)(size_t)> g_allocation_hook{nullptr};

// Of x86-64.
constexpr size_t kHugePage = size_t{2} << 20;

size_t machine_memory() {
  static const size_t bytes = [] {
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0) return SIZE_MAX;
    return static_cast<size_t>(pages) * static_cast<size_t>(page);
  }();
  return bytes;
}

}  // namespace

void set_allocation_hook(void (*hook)(size_t bytes)) { g_allocation_hook = hook; }

std::shared_ptr<std::byte> allocate(size_t bytes, size_t limit) {
  if (auto* hook = g_allocation_hook.load()) hook(bytes);
  const size_t most = limit == 0 ? machine_memory() : limit;
  if (bytes > most || bytes > SIZE_MAX - kAlignment) {
    base::fail("engine", ErrorCode::OutOfMemory, "want ", bytes,
               " bytes in one piece, the limit is ", most);
  }
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  const size_t rounded = std::max(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, rounded) != 0) {
    base::fail("engine", ErrorCode::OutOfMemory, "cannot allocate ", bytes, " bytes");
  }
  // Weights are read and written in strides of many pages: fewer of them miss the TLB less. Advice,
  // for whole huge pages only: it may fail, and takes no memory that was not asked for.
  if (bytes >= kHugePage) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(memory), std::free};
}

std::shared_ptr<std::byte> allocate(backends::Device& device, size_t bytes, size_t limit) {
  if (device.is_host()) return allocate(bytes, limit);
  if (auto* hook = g_allocation_hook.load()) hook(bytes);
  const size_t most = limit == 0 ? device.memory_bytes() : limit;
  if (bytes > most) {
    base::fail("engine", ErrorCode::OutOfMemory, "want ", bytes, " bytes of ", device.name(),
               " in one piece, the limit is ", most);
  }
  return device.allocate(bytes);
}

void BlockPool::wait() {
  const std::lock_guard waiting(waiting_mutex_);
  std::vector<std::shared_ptr<backends::Event>> awaited;
  {
    const std::lock_guard lock(mutex_);
    awaited.swap(awaited_);
  }
  for (const auto& event : awaited)
    event->wait();
}

std::shared_ptr<std::byte> BlockPool::allocate_or_trim(size_t bytes) {
  try {
    return allocate(device_, bytes, limit_);
  } catch (const Error& error) {
    const bool is_refused = bytes > (limit_ == 0 ? device_.memory_bytes() : limit_);
    const bool is_full = error.code() == ErrorCode::OutOfMemory && !is_refused;
    if (device_.is_host() || !is_full || spare_bytes() == 0) throw;
  }
  trim();
  return allocate(device_, bytes, limit_);
}

std::shared_ptr<Block> BlockPool::take(size_t bytes) {
  std::shared_ptr<std::byte> memory;
  {
    const std::lock_guard lock(mutex_);
    const auto found = free_.find(bytes);
    if (found != free_.end() && !found->second.empty()) {
      memory = std::move(found->second.back());
      found->second.pop_back();
      spare_ -= bytes;
    }
  }
  // It may have come back just now.
  wait();
  if (!memory) memory = allocate_or_trim(bytes);
  // The pool lives as long as any block of it.
  auto block = std::make_unique<Block>();
  block->data = block->writable = memory.get();
  block->bytes = bytes;
  return {block.release(),
          [pool = shared_from_this(), memory = std::move(memory)](Block* released) mutable {
            pool->give_back(released->bytes, std::move(memory));
            delete released;
          }};
}

std::shared_ptr<Block> BlockPool::borrow(const void* data, size_t bytes,
                                         std::shared_ptr<const void> owner) {
  auto block = std::make_shared<Block>();
  block->data = static_cast<const std::byte*>(data);
  block->bytes = bytes;
  block->owner = std::move(owner);
  return block;
}

void BlockPool::give_back(size_t bytes, std::shared_ptr<std::byte> memory) noexcept {
  if (!keep_spare_) return;
  try {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<std::byte>>& list = free_[bytes];
    // The lowest address of a device goes out first: full refits then take turns between two sets
    // of addresses, and what was recorded with them stays good.
    const auto at =
        device_.is_host()
            ? list.end()
            : std::upper_bound(list.begin(), list.end(), memory,
                               [](const auto& a, const auto& b) { return a.get() > b.get(); });
    list.insert(at, std::move(memory));
    spare_ += bytes;
  } catch (const std::bad_alloc&) {
    // The list could not grow: the memory goes back to the system instead.
  }
}

void BlockPool::wait_before_reuse(std::vector<std::shared_ptr<backends::Event>> events) {
  const std::lock_guard lock(mutex_);
  awaited_.insert(awaited_.end(), events.begin(), events.end());
}

size_t BlockPool::spare_bytes() const {
  const std::lock_guard lock(mutex_);
  return spare_;
}

void BlockPool::trim() {
  decltype(free_) freed;
  const std::lock_guard lock(mutex_);
  freed.swap(free_);
  spare_ = 0;
}

}  // namespace regraft::engine
