#include "base/parallel.h"

#include <atomic>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "regraft/error.h"

namespace regraft::base {
namespace {

// Sets the thread count for one test.
class Threads {
 public:
  explicit Threads(int count) : before_(thread_count()) { set_thread_count(count); }
  ~Threads() { set_thread_count(before_); }

 private:
  int before_;
};

TEST(ParallelFor, CoversEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads setting(threads);
    for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (const int64_t grain : {-1, 0, 1, 3, 100, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        std::atomic<int> ranges{0};
        parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          EXPECT_LT(begin, end);
          ++ranges;
          for (int64_t i = begin; i < end; ++i)
            ++seen[static_cast<size_t>(i)];
        });
        for (const auto& times : seen)
          ASSERT_EQ(times, 1);
        EXPECT_LE(ranges, threads);
        if (count > 0 && grain >= count) {
          EXPECT_EQ(ranges, 1);
        }
      }
    }
  }
}

TEST(ParallelFor, RangesAreAtLeastAGrain) {
  const Threads setting(8);
  for (const int64_t count : {10, 11, 19, 20, 103, 1001}) {
    parallel_for(count, 10, [&](int64_t begin, int64_t end) { EXPECT_GE(end - begin, 10); });
  }
}

TEST(ParallelFor, HugeCounts) {
  const Threads setting(4);
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  std::atomic<uint64_t> covered{0};
  parallel_for(kHuge, 1,
               [&](int64_t begin, int64_t end) { covered += static_cast<uint64_t>(end - begin); });
  EXPECT_EQ(covered, static_cast<uint64_t>(kHuge));
  covered = 0;
  parallel_for(kHuge, kHuge,
               [&](int64_t begin, int64_t end) { covered += static_cast<uint64_t>(end - begin); });
  EXPECT_EQ(covered, static_cast<uint64_t>(kHuge));
}

TEST(ParallelFor, RethrowsAfterAllRangesEnded) {
  for (const int threads : {1, 4}) {
    const Threads setting(threads);
    for (const int64_t bad : {0, 50, 99}) {
      std::atomic<int64_t> finished{0};
      const auto run = [&] {
        parallel_for(100, 1, [&](int64_t begin, int64_t end) {
          if (begin <= bad && bad < end) {
            throw Error("base", ErrorCode::Internal, "range of " + std::to_string(bad));
          }
          finished += end - begin;
        });
      };
      EXPECT_THROW(run(), Error);
      EXPECT_EQ(finished, threads == 4 ? 75 : 0);
    }
    int64_t count = 0;
    parallel_for(5, 10, [&](int64_t begin, int64_t end) { count += end - begin; });
    EXPECT_EQ(count, 5) << "usable after an exception";
  }
}

TEST(ParallelFor, NestedRunsSequentially) {
  const Threads setting(4);
  std::atomic<int64_t> sum{0};
  parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int inner_ranges = 0;
      parallel_for(100, 1, [&](int64_t inner_begin, int64_t inner_end) {
        ++inner_ranges;
        sum += inner_end - inner_begin;
      });
      EXPECT_EQ(inner_ranges, 1);
    }
  });
  EXPECT_EQ(sum, 800);
}

TEST(ParallelFor, ManyCallersAtOnce) {
  const Threads setting(2);
  std::vector<std::thread> callers;
  std::atomic<int64_t> sum{0};
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 100; ++round) {
        parallel_for(100, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
      }
    });
  }
  for (std::thread& caller : callers)
    caller.join();
  EXPECT_EQ(sum, 4 * 100 * 100);
}

#if defined(__x86_64__)
TEST(ParallelFor, FlushesDenormalsOnEveryPathAndRestores) {
  for (const int threads : {1, 4}) {
    const Threads setting(threads);
    volatile float tiny = 1e-38f;
    std::atomic<int> kept{0};
    parallel_for(4, 1, [&](int64_t, int64_t) {
      if (tiny * 0.1f != 0.0f) ++kept;
    });
    EXPECT_EQ(kept, 0) << threads << " threads: the result must not depend on their number";
    EXPECT_NE(tiny * 0.1f, 0.0f);
  }
}
#endif

TEST(ThreadCount, RefusesWhatCannotBe) {
  EXPECT_THROW(set_thread_count(0), Error);
  EXPECT_THROW(set_thread_count(-1), Error);
  EXPECT_THROW(set_thread_count(100000), Error) << "the system has no stacks for them";
  EXPECT_GE(thread_count(), 1);
}

}  // namespace
}  // namespace regraft::base
