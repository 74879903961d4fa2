#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace regraft::partitioning {

enum class Side : uint8_t {
  Engine,
  Outside,
  Either,  // Computes nothing: goes where its readers go.
};

// A node as the numbering sees it. Items stand in an order in which definitions precede uses.
struct Item {
  Side side = Side::Engine;
  bool floats = false;  // Has no place of its own: repeated in every segment that reads it.
  bool counts = false;  // Work that makes an engine worth its call.
  std::vector<size_t> reads;
};

// Numbers that say which items run together: equal ones. An edge never leads to a lower number, so
// segments never wait for each other.
struct Levels {
  std::vector<int> of;    // By item; -1 for one that floats.
  int engine_parity = 0;  // Levels of engines are the even (0) or the odd (1) ones.
  size_t engines = 0;     // Distinct levels of engines,
  size_t segments = 0;    // and of both.

  bool is_engine(int level) const { return level % 2 == engine_parity; }
};

// The fewest levels, as the longest path that changes sides needs; of those numberings the one with
// the fewest engines.
Levels assign_levels(const std::vector<Item>& items);

}  // namespace regraft::partitioning
