#include "base/parallel.h"

#include <atomic>
#include <cstdlib>

#include <sched.h>

#include "base/fail.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#ifdef REGRAFT_NO_OPENMP
#include <thread>
#include <vector>
#else
#include <omp.h>
#endif

namespace regraft::base {
namespace {

// Far more than that, and the system has no stacks for them.
constexpr int kMostThreads = 4096;

int default_thread_count() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int value = std::atoi(text);
    if (value >= 1) return std::min(value, kMostThreads);
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return 1;
}

std::atomic<int>& thread_setting() {
  static std::atomic<int> setting{default_thread_count()};
  return setting;
}

}  // namespace

int thread_count() { return thread_setting().load(std::memory_order_relaxed); }

void set_thread_count(int threads) {
  if (threads < 1 || threads > kMostThreads) {
    fail("base", ErrorCode::InvalidArgument, "thread count: want 1..", kMostThreads, ", have ",
         threads);
  }
  thread_setting() = threads;
}

namespace detail {

#ifdef REGRAFT_NO_OPENMP

// libgomp is not instrumented for ThreadSanitizer, so that build starts plain threads.
thread_local bool t_in_team = false;

bool in_team() { return t_in_team; }

void run_team(int threads, void (*body)(void*, int), void* context) {
  std::vector<std::thread> team;
  for (int i = 1; i < threads; ++i) {
    team.emplace_back([=] {
      t_in_team = true;
      body(context, i);
    });
  }
  t_in_team = true;
  body(context, 0);
  t_in_team = false;
  for (std::thread& thread : team)
    thread.join();
}

#else

bool in_team() { return omp_in_parallel() != 0; }

void run_team(int threads, void (*body)(void*, int), void* context) {
#pragma omp parallel num_threads(threads)
  {
    // The runtime may give fewer threads than asked for: every range still runs.
    for (int i = omp_get_thread_num(); i < threads; i += omp_get_num_threads())
      body(context, i);
  }
}

#endif

}  // namespace detail

#if defined(__x86_64__)

constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;

FlushDenormals::FlushDenormals() : saved_(_mm_getcsr()) {
  _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero);
}
FlushDenormals::~FlushDenormals() { _mm_setcsr(saved_); }

KeepDenormals::KeepDenormals() : saved_(_mm_getcsr()) {
  _mm_setcsr(saved_ & ~(kFlushToZero | kDenormalsAreZero));
}
KeepDenormals::~KeepDenormals() { _mm_setcsr(saved_); }

#else

FlushDenormals::FlushDenormals() : saved_(0) {}
FlushDenormals::~FlushDenormals() = default;
KeepDenormals::KeepDenormals() : saved_(0) {}
KeepDenormals::~KeepDenormals() = default;

#endif

}  // namespace regraft::base
