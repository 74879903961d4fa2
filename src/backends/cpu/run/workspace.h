#pragma once

#include <cstddef>

namespace regraft::cpu {

// Lays out the pieces of a kernel's workspace, each 64-byte aligned.
class Workspace {
 public:
  struct Place {
    size_t offset = 0;
  };
  Place add(size_t bytes) {
    const Place place{bytes_};
    bytes_ += (bytes + 63) / 64 * 64;
    return place;
  }
  size_t bytes() const { return bytes_; }

  static void* at(void* workspace, Place place) {
    return static_cast<char*>(workspace) + place.offset;
  }

 private:
  size_t bytes_ = 0;
};

}  // namespace regraft::cpu
