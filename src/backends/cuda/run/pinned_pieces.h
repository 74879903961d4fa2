#pragma once

#include <span>
#include <vector>

#include "base/stream_copy.h"

namespace regraft::cuda {

// What is to be brought to the device.
struct Uploads {
  // Pinned pieces, so small that beginning a copy takes longer than the copy, by the addresses at
  // which the current device reads them: one kernel brings them all.
  std::vector<base::BlockCopy> read;
  std::vector<base::BlockCopy> copied;  // All others.
};
Uploads sort_uploads(std::span<const base::BlockCopy> blocks);

// Whether the driver has pinned the host memory at `data`.
bool is_pinned(const void* data);

}  // namespace regraft::cuda
