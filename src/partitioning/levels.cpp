#include "partitioning/levels.h"

#include <algorithm>
#include <limits>
#include <set>

namespace regraft::partitioning {
namespace {

constexpr int kNever = std::numeric_limits<int>::max();

// As early as the operands allow. A first level of the other kind lets a side branch that reads
// inputs only go first instead of cutting the main path.
Levels number(const std::vector<Item>& items, int engine_parity) {
  Levels out;
  out.engine_parity = engine_parity;
  out.of.assign(items.size(), 0);
  for (size_t i = 0; i < items.size(); ++i) {
    int level = 0;
    for (const size_t read : items[i].reads)
      level = std::max(level, out.of[read]);
    const bool is_pinned = !items[i].floats && items[i].side != Side::Either;
    if (is_pinned && out.is_engine(level) != (items[i].side == Side::Engine)) ++level;
    out.of[i] = level;
  }
  return out;
}

// Items that may go anywhere go to their first reader, so that none makes a segment of its own.
void settle(const std::vector<Item>& items, Levels& levels) {
  std::vector<int> latest(items.size(), kNever);
  for (size_t i = items.size(); i-- > 0;) {
    const bool is_free = items[i].floats || items[i].side == Side::Either;
    if (is_free && latest[i] != kNever) levels.of[i] = latest[i];
    for (const size_t read : items[i].reads)
      latest[read] = std::min(latest[read], levels.of[i]);
  }
}

void count(const std::vector<Item>& items, Levels& levels) {
  std::set<int> used;
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].floats) levels.of[i] = -1;
    if (!items[i].floats) used.insert(levels.of[i]);
  }
  levels.segments = used.size();
  levels.engines = static_cast<size_t>(
      std::count_if(used.begin(), used.end(), [&](int level) { return levels.is_engine(level); }));
}

}  // namespace

Levels assign_levels(const std::vector<Item>& items) {
  Levels best;
  for (const int engine_parity : {0, 1}) {
    Levels levels = number(items, engine_parity);
    settle(items, levels);
    count(items, levels);
    if (engine_parity == 0 || levels.engines < best.engines ||
        (levels.engines == best.engines && levels.segments < best.segments)) {
      best = std::move(levels);
    }
  }
  return best;
}

}  // namespace regraft::partitioning
