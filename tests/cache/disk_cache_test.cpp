#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/text.h"
#include "regraft/cache.h"
#include "regraft/error.h"
#include "regraft/log.h"

namespace regraft {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class DiskCacheTest : public ::testing::Test {
 protected:
  DiskCacheTest()
      : folder_(fs::temp_directory_path() /
                base::cat("regraft_cache_", ::getpid(), "_", count_++)) {}
  ~DiskCacheTest() override {
    set_log_callback({});
    fs::remove_all(folder_);
  }

  std::shared_ptr<EngineCache> open(uint64_t capacity) const {
    return disk_cache(folder_.string(), capacity);
  }

  std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().filename() != ".lock") names.insert(entry.path().filename().string());
    }
    return names;
  }

  uint64_t bytes_of_entries() const {
    uint64_t total = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_, error)) {
      const uint64_t bytes = entry.file_size(error);
      if (!error && entry.path().extension() == ".rgf") total += bytes;
    }
    return total;
  }

  static void expect_code(ErrorCode code, const std::function<void()>& call) {
    try {
      call();
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_EQ(error.stage(), "cache");
    }
  }

  fs::path folder_;

 private:
  static inline int count_ = 0;
};

TEST_F(DiskCacheTest, GivesBackWhatWasSaved) {
  const auto cache = open(1000);
  EXPECT_EQ(cache->load("a"), std::nullopt);
  EXPECT_FALSE(fs::exists(folder_));
  cache->save("a", std::string("one\0two", 7));
  EXPECT_EQ(cache->load("a"), std::string("one\0two", 7));
  cache->save("a", "three");
  EXPECT_EQ(open(1000)->load("a"), "three");
  cache->remove("a");
  cache->remove("a");
  EXPECT_EQ(cache->load("a"), std::nullopt);
}

TEST_F(DiskCacheTest, EvictsTheLeastRecentlyUsed) {
  const auto cache = open(300);
  for (const char* key : {"a", "b", "c"})
    cache->save(key, std::string(100, 'x'));
  cache->load("a");
  cache->save("d", std::string(100, 'x'));
  EXPECT_EQ(files(), (std::set<std::string>{"a.rgf", "c.rgf", "d.rgf"}));
  cache->load("c");
  // Two must go for it.
  cache->save("e", std::string(200, 'x'));
  EXPECT_EQ(files(), (std::set<std::string>{"c.rgf", "e.rgf"}));
}

TEST_F(DiskCacheTest, KeepsTheOrderOfUseInTheFolder) {
  for (const char* key : {"a", "b", "c"})
    open(300)->save(key, std::string(100, 'x'));
  open(300)->load("a");
  open(300)->save("d", std::string(100, 'x'));
  EXPECT_EQ(files(), (std::set<std::string>{"a.rgf", "c.rgf", "d.rgf"}));
}

TEST_F(DiskCacheTest, CountsAnEntryOnceHoweverOftenItIsSaved) {
  const auto cache = open(300);
  cache->save("a", std::string(100, 'x'));
  for (int i = 0; i < 5; ++i)
    cache->save("b", std::string(100, 'y'));
  cache->save("c", std::string(100, 'z'));
  EXPECT_EQ(files().size(), 3u);
  cache->save("a", std::string(300, 'x'));
  EXPECT_EQ(files(), std::set<std::string>{"a.rgf"});
}

TEST_F(DiskCacheTest, LeavesOutWhatIsTooLargeAndSaysSoOnce) {
  std::vector<std::string> messages;
  set_log_callback([&](LogLevel, std::string_view message) { messages.emplace_back(message); });
  const auto cache = open(100);
  cache->save("a", std::string(100, 'x'));
  cache->save("b", std::string(101, 'x'));
  cache->save("b", std::string(101, 'x'));
  EXPECT_EQ(cache->load("b"), std::nullopt);
  EXPECT_NE(cache->load("a"), std::nullopt);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_THAT(messages[0], HasSubstr("an entry of 101 bytes is not kept, the capacity is 100"));
}

TEST_F(DiskCacheTest, CleansUpAfterKilledWritersAndTouchesNothingElse) {
  const auto cache = open(300);
  cache->save("a", "a");
  std::ofstream(folder_ / "b.rgf.tmp.123.0") << std::string(1000, 'x');
  std::ofstream(folder_ / "notes.txt") << std::string(1000, 'x');
  fs::create_directory(folder_ / "folder.rgf");
  cache->save("c", std::string(299, 'x'));
  EXPECT_EQ(files(), (std::set<std::string>{"a.rgf", "c.rgf", "folder.rgf", "notes.txt"}));
}

TEST_F(DiskCacheTest, RefusesKeysThatCouldNameOtherFiles) {
  const auto cache = open(300);
  for (const std::string key : {"", "../a", "a/b", "a.b", "a\n"}) {
    expect_code(ErrorCode::InvalidArgument, [&] { cache->save(key, "x"); });
    expect_code(ErrorCode::InvalidArgument, [&] { cache->load(key); });
    expect_code(ErrorCode::InvalidArgument, [&] { cache->remove(key); });
  }
  expect_code(ErrorCode::InvalidArgument, [&] { cache->load(std::string(129, 'a')); });
}

TEST_F(DiskCacheTest, SaysWhatTheSystemRefuses) {
  std::ofstream(folder_) << "a file";
  const auto cache = open(300);
  expect_code(ErrorCode::Io, [&] { cache->save("a", "x"); });
  EXPECT_EQ(cache->load("a"), std::nullopt);
  fs::remove(folder_);
  fs::create_directories(folder_ / "a.rgf");
  expect_code(ErrorCode::Io, [&] { cache->load("a"); });
}

TEST_F(DiskCacheTest, WaitsForAnotherWriter) {
  const auto cache = open(300);
  cache->save("a", "1");
  const int lock = ::open((folder_ / ".lock").c_str(), O_RDWR);
  ASSERT_EQ(::flock(lock, LOCK_EX), 0);
  std::thread writer([&] { cache->save("a", "2"); });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(cache->load("a"), "1");  // Readers wait for nobody.
  ::close(lock);
  writer.join();
  EXPECT_EQ(cache->load("a"), "2");
}

// ---- many processes, killed at any moment ----

// An entry that says of itself whether it is whole.
std::string make_entry(const std::string& key, unsigned number) {
  std::string body = base::cat(key, " ", number, " ");
  body.resize(200 + number % 7 * 150, static_cast<char>('a' + number % 26));
  return base::digest(body) + body;
}

bool is_entry(const std::string& key, const std::string& entry) {
  return entry.size() > 32 && base::digest(entry.substr(32)) == entry.substr(0, 32) &&
         entry.compare(32, key.size() + 1, key + " ") == 0;
}

// Never returns. Saves and loads until it is killed; writes the number of every entry of its own
// that it has saved, and "!" for every wrong one that it has read.
[[noreturn]] void hammer(const std::string& folder, uint64_t capacity, unsigned process, int out) {
  const auto cache = disk_cache(folder, capacity);
  std::mt19937 random(process);
  for (unsigned i = 0;; ++i) {
    const std::string shared = base::cat("shared", random() % 6);
    try {
      const auto entry = cache->load(shared);
      if (entry && !is_entry(shared, *entry)) static_cast<void>(!::write(out, "!", 1));
      cache->save(shared, make_entry(shared, random()));
      const std::string own = base::cat("own-", process, "-", i);
      cache->save(own, make_entry(own, i));
      const std::string line = own + "\n";
      static_cast<void>(!::write(out, line.data(), line.size()));
    } catch (...) {
      static_cast<void>(!::write(out, "!", 1));
    }
  }
}

class Hammered : public DiskCacheTest {
 protected:
  // What the processes wrote. `look` is called again and again meanwhile.
  std::string run(uint64_t capacity, const std::function<void()>& look) {
    int pipe[2];
    EXPECT_EQ(::pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
    std::map<pid_t, int> running;
    unsigned next = 0;
    std::mt19937 random(7);
    std::string written;
    const auto read = [&] {
      char buffer[4096];
      for (ssize_t n = 0; (n = ::read(pipe[0], buffer, sizeof buffer)) > 0;)
        written.append(buffer, static_cast<size_t>(n));
    };
    // Long enough to meet many states of the folder, however busy the machine is.
    const auto begin = std::chrono::steady_clock::now();
    const auto is_enough = [&] {
      const auto past = std::chrono::steady_clock::now() - begin;
      return past > std::chrono::seconds(3) && next > 20 &&
             (std::count(written.begin(), written.end(), '\n') > 100 ||
              past > std::chrono::seconds(120));
    };
    while (!is_enough()) {
      while (running.size() < 4) {
        const pid_t child = ::fork();
        if (child == 0) {
          ::fcntl(pipe[1], F_SETFL, 0);
          hammer(folder_.string(), capacity, next, pipe[1]);
        }
        running[child] = 1;
        ++next;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 30000));
      look();
      read();
      auto victim = running.begin();
      std::advance(victim, random() % running.size());
      kill(victim->first);
      running.erase(victim);
    }
    for (const auto& [child, one] : running)
      kill(child);
    read();
    ::close(pipe[0]);
    ::close(pipe[1]);
    return written;
  }

  static void kill(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
};

TEST_F(Hammered, LosesNothing) {
  const std::string written = run(1 << 30, [] {});
  EXPECT_EQ(written.find('!'), std::string::npos);
  const auto cache = open(1 << 30);
  size_t count = 0;
  for (size_t at = 0, end = 0; (end = written.find('\n', at)) != std::string::npos; at = end + 1) {
    const std::string key = written.substr(at, end - at);
    const auto entry = cache->load(key);
    ASSERT_TRUE(entry && is_entry(key, *entry)) << key;
    ++count;
  }
  EXPECT_GT(count, 100u);
}

TEST_F(Hammered, StaysWholeAndWithinItsCapacity) {
  constexpr uint64_t kCapacity = 5000;
  uint64_t most = 0;
  const std::string written = run(kCapacity, [&] { most = std::max(most, bytes_of_entries()); });
  EXPECT_EQ(written.find('!'), std::string::npos);
  // A look at a folder in motion may see an entry and what replaces it.
  EXPECT_LE(most, kCapacity + 1200);
  EXPECT_GT(most, kCapacity / 2);
  const auto cache = open(kCapacity);
  cache->save("last", make_entry("last", 0));
  EXPECT_LE(bytes_of_entries(), kCapacity);
  for (const std::string& name : files()) {
    ASSERT_TRUE(name.ends_with(".rgf")) << name;
    const std::string key = name.substr(0, name.size() - 4);
    EXPECT_TRUE(is_entry(key, cache->load(key).value_or(""))) << name;
  }
}

}  // namespace
}  // namespace regraft
