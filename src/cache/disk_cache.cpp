#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/log.h"
#include "base/mapped_file.h"
#include "regraft/cache.h"

namespace regraft::cache {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".rgf";
constexpr std::string_view kTemporary = ".rgf.tmp.";
constexpr auto kPatience = std::chrono::seconds(10);

[[noreturn]] void fail_io(const std::string& path, std::string_view verb, int error) {
  base::fail("cache", ErrorCode::Io, path, ": cannot ", verb, ": ", std::strerror(error));
}

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int operator*() const { return number_; }

 private:
  int number_;
};

// Sets the time of last use. The system's own "now" is a tick of milliseconds: too coarse to order
// entries by. Failing (another user's file) leaves the entry older than it is.
void touch(int descriptor) {
  std::array<timespec, 2> times{};
  ::clock_gettime(CLOCK_REALTIME, times.data());
  times[1] = times[0];
  static_cast<void>(::futimens(descriptor, times.data()));
}

// The one writer of a folder. The system lets go of it when the process ends, however it ends.
class FolderLock {
 public:
  explicit FolderLock(const std::string& folder)
      : file_(::open((folder + "/.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (*file_ < 0) fail_io(folder, "open the lock of", errno);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (::flock(*file_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) fail_io(folder, "lock", errno);
      if (std::chrono::steady_clock::now() > end) {
        base::fail("cache", ErrorCode::State, folder, ": another process holds the folder");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

 private:
  Descriptor file_;
};

struct Entry {
  std::string path;
  uint64_t bytes = 0;
  timespec used{};

  friend bool operator<(const Entry& a, const Entry& b) {
    return std::tie(a.used.tv_sec, a.used.tv_nsec, a.path) <
           std::tie(b.used.tv_sec, b.used.tv_nsec, b.path);
  }
};

void check_key(const std::string& key) {
  const bool is_word =
      !key.empty() && key.size() <= 128 && std::all_of(key.begin(), key.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-';
      });
  if (!is_word) {
    base::fail("cache", ErrorCode::InvalidArgument,
               "key: want up to 128 letters, digits, '-' and '_', have '", key, "'");
  }
}

class DiskCache final : public EngineCache {
 public:
  DiskCache(std::string folder, uint64_t capacity)
      : folder_(std::move(folder)), capacity_(capacity) {}

  std::optional<std::string> load(const std::string& key) override {
    const std::string path = path_of(key);
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (*file < 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
      fail_io(path, "open", errno);
    }
    std::string bytes = read_all(*file, path);
    touch(*file);
    return bytes;
  }

  void save(const std::string& key, const std::string& entry) override {
    const std::string path = path_of(key);
    if (entry.size() > capacity_) {
      if (!told_.exchange(true)) {
        base::log(LogLevel::Warning, base::cat("[cache] ", folder_, ": an entry of ", entry.size(),
                                               " bytes is not kept, the capacity is ", capacity_));
      }
      return;
    }
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) fail_io(folder_, "make", error.value());
    const FolderLock lock(folder_);
    make_room(path, entry.size());
    base::AtomicFile file(path);
    file.append(entry.data(), entry.size());
    file.commit();
    const Descriptor written(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (*written >= 0) touch(*written);
  }

  void remove(const std::string& key) override {
    const std::string path = path_of(key);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT && errno != ENOTDIR) {
      fail_io(path, "remove", errno);
    }
  }

 private:
  std::string path_of(const std::string& key) const {
    check_key(key);
    return base::cat(folder_, "/", key, kSuffix);
  }

  static std::string read_all(int file, const std::string& path) {
    struct stat status{};
    if (::fstat(file, &status) != 0) fail_io(path, "read", errno);
    if (!S_ISREG(status.st_mode)) fail_io(path, "read", EISDIR);
    std::string bytes(static_cast<size_t>(status.st_size), '\0');
    size_t at = 0;
    while (at < bytes.size()) {
      const ssize_t got = ::read(file, bytes.data() + at, bytes.size() - at);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail_io(path, "read", errno);
      if (got == 0) break;
      at += static_cast<size_t>(got);
    }
    bytes.resize(at);
    return bytes;
  }

  // Call with the lock held: whatever is half-written now was left by a process that was killed.
  std::vector<Entry> entries() const {
    std::vector<Entry> found;
    std::error_code error;
    for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
      const std::string path = at->path().string(), name = at->path().filename().string();
      struct stat status{};
      if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
      if (name.find(kTemporary) != std::string::npos) {
        ::unlink(path.c_str());
      } else if (name.size() > kSuffix.size() && name.ends_with(kSuffix)) {
        found.push_back({path, static_cast<uint64_t>(status.st_size), status.st_mtim});
      }
    }
    if (error) fail_io(folder_, "list", error.value());
    return found;
  }

  // Evicts the least recently used until `bytes` fit, which are to replace the file `path`.
  void make_room(const std::string& path, uint64_t bytes) const {
    std::vector<Entry> all = entries();
    std::erase_if(all, [&](const Entry& entry) { return entry.path == path; });
    std::sort(all.begin(), all.end());
    uint64_t total = 0;
    for (const Entry& entry : all)
      total += entry.bytes;
    for (const Entry& entry : all) {
      if (total <= capacity_ - bytes) return;
      if (::unlink(entry.path.c_str()) != 0 && errno != ENOENT) {
        fail_io(entry.path, "evict", errno);
      }
      base::log(LogLevel::Debug, base::cat("[cache] evicted ", entry.path));
      total -= entry.bytes;
    }
  }

  std::string folder_;
  uint64_t capacity_;
  std::atomic<bool> told_ = false;
};

}  // namespace
}  // namespace regraft::cache

namespace regraft {

std::shared_ptr<EngineCache> disk_cache(const std::string& folder, uint64_t capacity) {
  return std::make_shared<cache::DiskCache>(folder, capacity);
}

}  // namespace regraft
