#include "engine/arena.h"

#include <algorithm>
#include <numeric>

#include "base/fail.h"
#include "engine/memory.h"

namespace regraft::engine {

Arena plan_arena(const std::vector<Lifetime>& lifetimes) {
  constexpr size_t kMost = SIZE_MAX / 4;
  Arena arena;
  arena.offsets.assign(lifetimes.size(), 0);
  std::vector<size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  std::vector<size_t> placed;  // Sorted by offset.
  for (const size_t i : order) {
    const Lifetime& item = lifetimes[i];
    if (item.bytes > kMost || arena.bytes > kMost) {
      base::fail("engine", ErrorCode::OutOfMemory, "the temporaries of a run need too many bytes");
    }
    size_t offset = 0;
    for (const size_t j : placed) {
      const Lifetime& other = lifetimes[j];
      if (other.last < item.first || item.last < other.first) continue;
      if (arena.offsets[j] >= offset && arena.offsets[j] - offset >= item.bytes) break;
      const size_t end = arena.offsets[j] + other.bytes;
      offset = std::max(offset, (end + kAlignment - 1) / kAlignment * kAlignment);
    }
    arena.offsets[i] = offset;
    arena.bytes = std::max(arena.bytes, offset + item.bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), offset,
                                     [&](size_t o, size_t j) { return o < arena.offsets[j]; });
    placed.insert(at, i);
  }
  return arena;
}

}  // namespace regraft::engine
