#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>

namespace regraft::base {

// Threads a parallel region uses: set_thread_count, else OMP_NUM_THREADS, else the cores of the
// process' affinity mask. Never less than 1.
int thread_count();
// Process-wide; results of kernels never depend on it. Throws Error{InvalidArgument} below 1.
void set_thread_count(int threads);

// Calls body(begin, end) on disjoint ranges that cover [0, count), each at least `grain` long
// unless there is only one; sequential when one range is enough or when already inside a parallel
// region. The body always runs with denormals flushed to zero. An exception of the body is rethrown
// to the caller after all ranges ended.
template <typename Body>
void parallel_for(int64_t count, int64_t grain, const Body& body);

// Flushes denormals to zero on this thread while alive (a run over decaying activations is
// otherwise several times slower).
class FlushDenormals {
 public:
  FlushDenormals();
  ~FlushDenormals();
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

// Switches flushing off on this thread while alive, for bodies that must not change values.
class KeepDenormals {
 public:
  KeepDenormals();
  ~KeepDenormals();
  KeepDenormals(const KeepDenormals&) = delete;
  KeepDenormals& operator=(const KeepDenormals&) = delete;

 private:
  unsigned saved_;
};

namespace detail {

// Calls body(context, i) for each i in [0, threads), in parallel.
void run_team(int threads, void (*body)(void*, int thread), void* context);
// Whether the calling thread runs a body of run_team.
bool in_team();

}  // namespace detail

template <typename Body>
void parallel_for(int64_t count, int64_t grain, const Body& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t ranges = std::min<int64_t>(thread_count(), count / grain);
  if (ranges <= 1 || detail::in_team()) {
    // Here too, so that a result does not depend on the number of threads.
    const FlushDenormals flush;
    body(int64_t{0}, count);
    return;
  }
  struct Context {
    const Body* body;
    int64_t count, ranges;
    std::mutex mutex;
    std::exception_ptr error;
  } context{&body, count, ranges, {}, {}};
  detail::run_team(
      static_cast<int>(ranges),
      [](void* raw, int thread) {
        auto& c = *static_cast<Context*>(raw);
        const int64_t length = c.count / c.ranges, longer = c.count % c.ranges;
        const int64_t begin = length * thread + std::min<int64_t>(thread, longer);
        const int64_t end = begin + length + (thread < longer ? 1 : 0);
        const FlushDenormals flush;
        try {
          (*c.body)(begin, end);
        } catch (...) {
          const std::lock_guard lock(c.mutex);
          if (!c.error) c.error = std::current_exception();
        }
      },
      &context);
  if (context.error) std::rethrow_exception(context.error);
}

}  // namespace regraft::base
