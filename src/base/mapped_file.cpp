#include "base/mapped_file.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"

namespace regraft::base {
namespace {

[[noreturn]] void fail_io(const std::string& path, const char* verb) {
  const int error = errno;
  fail("file", error == ENOENT ? ErrorCode::NotFound : ErrorCode::Io, path, ": cannot ", verb, ": ",
       std::strerror(error));
}

// What a link points to, or the last of a chain of them, whether or not that exists.
std::string without_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // As in Linux.
  std::filesystem::path at = path;
  std::error_code error;
  for (int links = 0; std::filesystem::is_symlink(at, error); ++links) {
    const std::filesystem::path next = std::filesystem::read_symlink(at, error);
    if (error || links == kMostLinks) {
      errno = error ? error.value() : ELOOP;
      fail_io(path, "create");
    }
    at = at.parent_path() / next;  // Just `next` where that is absolute.
  }
  return at.string();
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // A pipe would wait for somebody who writes to it.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) fail_io(path, "open");
  struct stat status{};
  const int error = ::fstat(descriptor, &status) != 0 ? errno
                    : S_ISDIR(status.st_mode)         ? EISDIR
                                                      : 0;
  if (error != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    if (error == 0) fail("file", ErrorCode::Io, path, ": cannot map: Not a regular file");
    errno = error;
    fail_io(path, "map");
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->path_ = path;
  file->size_ = static_cast<size_t>(status.st_size);
  if (file->size_ > 0) {
    void* data = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED) {
      file->size_ = 0;
      ::close(descriptor);
      fail_io(path, "map");
    }
    file->data_ = static_cast<const std::byte*>(data);
  }
  ::close(descriptor);
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), target_(without_links(path_)) {
  // A rename would take the place of a device or a pipe; that of a folder fails.
  struct stat status{};
  if (::stat(target_.c_str(), &status) == 0 && !S_ISREG(status.st_mode) &&
      !S_ISDIR(status.st_mode)) {
    fail("file", ErrorCode::Io, path_, ": cannot create: Not a regular file");
  }
  static std::atomic<unsigned> counter{0};
  temporary_ = cat(target_, ".tmp.", ::getpid(), ".", counter++);
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_io(path_, "create");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::append(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  size_t left = bytes;
  while (left > 0) {
    const ssize_t written = ::write(descriptor_, at, left);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_io(path_, "write");
    }
    at += written;
    left -= static_cast<size_t>(written);
  }
  position_ += bytes;
}

void AtomicFile::pad_to(size_t alignment) {
  static constexpr char kZeros[4096] = {};
  while (position_ % alignment != 0) {
    append(kZeros, std::min(alignment - position_ % alignment, sizeof kZeros));
  }
}

void AtomicFile::commit() {
  if (::fsync(descriptor_) != 0) fail_io(path_, "sync");
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail_io(path_, "rename");
  ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace regraft::base
