#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace regraft::base {

// A whole file mapped read-only. The mapping lives as long as the last shared_ptr; immutable, so
// safe to read from any thread. A file that is truncated behind our back by another process is the
// operating system's SIGBUS: writers of engine files replace, never truncate.
class MappedFile {
 public:
  // Throws Error{NotFound} or Error{Io}, naming `path`.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

// Writes `path` so that a reader sees the old file or the whole new one: temporary file in the same
// folder, fsync, rename. A link stays, and what it points to is replaced. For one thread.
class AtomicFile {
 public:
  // Throws Error{NotFound} when the folder does not exist, and Error{Io}, also for what exists and
  // is no regular file, such as a device or a pipe.
  explicit AtomicFile(std::string path);
  // Removes the temporary file unless committed.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Throws Error{Io}, as the calls below do.
  void append(const void* data, size_t bytes);
  // Zero bytes until the position is a multiple of `alignment`.
  void pad_to(size_t alignment);
  uint64_t position() const { return position_; }
  // Publishes the file; the last call.
  void commit();

 private:
  std::string path_;
  std::string target_;  // `path_`, or what it links to.
  std::string temporary_;
  int descriptor_ = -1;
  uint64_t position_ = 0;
};

}  // namespace regraft::base
