#pragma once

#include <cstdint>
#include <functional>

namespace regraft::base {

// Threads a parallel region uses: set_thread_count, else OMP_NUM_THREADS, else the cores of the
// process' affinity mask. Never less than 1.
int thread_count();
// Process-wide; results of kernels never depend on it. Throws Error{InvalidArgument} below 1.
void set_thread_count(int threads);

namespace detail {
void run_team(int threads, void (*body)(void*, int thread), void* context);
}

// Calls body(begin, end) on disjoint ranges that cover [0, count), each at least `grain` long
// unless there is only one; sequential when one range is enough or when already inside a parallel
// region. The body always runs with denormals flushed to zero. An exception of the body is rethrown
// to the caller after all ranges ended.
template <typename Body>
void parallel_for(int64_t count, int64_t grain, const Body& body);

}  // namespace regraft::base

#include "base/parallel_impl.h"
