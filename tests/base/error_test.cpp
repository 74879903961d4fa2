#include "regraft/error.h"

#include <future>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/fail.h"
#include "base/hash.h"
#include "base/log.h"

namespace regraft {
namespace {

TEST(Error, SaysStageCodeAndMessage) {
  try {
    base::fail("refit", ErrorCode::Mismatch, "w: want ", "f32[2]", ", have ", 3);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "[refit] w: want f32[2], have 3");
    EXPECT_EQ(error.stage(), "refit");
    EXPECT_EQ(error.code(), ErrorCode::Mismatch);
  }
}

TEST(Error, CodesHaveDistinctNames) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(ErrorCode::Internal); ++code) {
    names.insert(name(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(ErrorCode::Internal) + 1);
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(Log, GoesToTheCallbackFromAnyThread) {
  std::mutex mutex;
  std::vector<std::string> lines;
  set_log_callback([&](LogLevel level, std::string_view message) {
    const std::lock_guard lock(mutex);
    lines.push_back(std::to_string(static_cast<int>(level)) + std::string(message));
  });
  base::log(LogLevel::Warning, "first");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] { base::log(LogLevel::Info, "more"); });
  }
  for (std::thread& thread : threads)
    thread.join();
  set_log_callback({});
  base::log(LogLevel::Warning, "silent");
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0], "2first");
}

// A callback may wait for what a thread holds that sets another one, or do so itself.
TEST(Log, HoldsNoLockWhileItCalls) {
  std::promise<void> is_called, may_return;
  set_log_callback([&](LogLevel, std::string_view) {
    is_called.set_value();
    may_return.get_future().wait();
  });
  std::thread thread([] { base::log(LogLevel::Info, "waits"); });
  is_called.get_future().wait();
  int calls = 0;
  set_log_callback([&](LogLevel, std::string_view) {
    ++calls;
    set_log_callback({});
    base::log(LogLevel::Info, "silent");
  });
  base::log(LogLevel::Info, "removes itself");
  base::log(LogLevel::Info, "silent");
  EXPECT_EQ(calls, 1);
  may_return.set_value();
  thread.join();
}

TEST(Hash, IsXxh3) {
  // Test vectors of the empty input from xxHash's own specification.
  EXPECT_EQ(base::hash64("", 0), 0x2d06800538d394c2u);
  EXPECT_EQ(base::digest(""), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(base::digest("a"), base::digest("b"));
  EXPECT_EQ(base::digest("a").size(), 32u);
}

}  // namespace
}  // namespace regraft
