#pragma once

#include <vector>

#include "base/stream_copy.h"

namespace regraft::cuda {

// So small that beginning a copy takes longer than the copy: it takes some 2 us to begin, in which
// the bus brings about as much.
inline constexpr size_t kSmallUpload = size_t{128} << 10;

struct Uploads {
  // Of pinned memory, by the addresses at which the current device reads it: one kernel brings them
  // all. Empty where they are too few for that.
  std::vector<base::BlockCopy> read;
  std::vector<base::BlockCopy> copied;  // All others.
};
// Of `blocks` without large ones of pinned memory; their order stays.
Uploads sort_uploads(std::vector<base::BlockCopy> blocks);

// Whether the driver has pinned the host memory at `data`.
bool is_pinned(const void* data);

}  // namespace regraft::cuda
