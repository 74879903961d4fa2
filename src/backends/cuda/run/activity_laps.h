#pragma once

#include <memory>

#include "backends/device.h"

namespace regraft::cuda {

// Laps by CUPTI: the time that the kernels and copies enqueued between two points took on the
// device, as it noted itself, without what lies between them. Points cannot be recorded. Null where
// CUPTI is not there or somebody else in this process uses it this way; PyTorch's profiler and this
// take CUPTI from each other, so they do not work at once.
std::unique_ptr<backends::Laps> try_make_activity_laps(size_t points);

}  // namespace regraft::cuda
