#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sources/bytes.h"

namespace regraft::sources {

// Bounds on what the compressed members of one archive may grow to, taken together: the floor plus
// the ratio times the size of the archive, and never more than the ceiling.
struct ZipLimits {
  uint64_t floor = uint64_t{64} << 20;
  uint64_t ratio = 100;
  uint64_t ceiling = uint64_t{64} << 30;
};

// A member of an archive. Every range has been checked against the archive.
struct ZipEntry {
  std::string name;
  uint64_t header_offset = 0;  // Of the local header.
  uint64_t data_offset = 0;
  uint64_t stored_bytes = 0;  // As they lie in the archive.
  uint64_t bytes = 0;
  uint32_t crc = 0;
  bool deflated = false;
};

// Reads ZIP and ZIP64 archives (PKWARE APPNOTE 6.3): members stored or deflated, found through the
// central directory alone. Refuses what a second reader could see otherwise: duplicate names,
// overlapping members, local headers that contradict the directory. Immutable, so safe to use from
// any thread; the bytes must outlive the archive.
class ZipArchive {
 public:
  // Whether the bytes begin as an archive does.
  static bool is_zip(std::span<const std::byte> bytes);

  // Checks the whole directory; `where` leads the messages. Throws Error{Corrupt, Unsupported,
  // OutOfMemory}.
  ZipArchive(std::span<const std::byte> bytes, std::string where, const ZipLimits& limits = {});

  // In the order of the directory.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  // Null when there is none.
  const ZipEntry* find(std::string_view name) const;

  // A stored member in place (owner null), or an inflated copy, 64-byte aligned. Throws
  // Error{Corrupt} when the member does not inflate to exactly its size.
  Record read(const ZipEntry& entry) const;
  // Throws Error{Corrupt} when `record`, as read, has another CRC-32 than the directory says. Not
  // part of read(): writers may leave checksums out, and it reads every byte.
  void check_crc(const ZipEntry& entry, const Record& record) const;

 private:
  struct Directory {
    uint64_t offset = 0, bytes = 0, entries = 0;
  };
  Directory find_directory() const;
  Directory read_zip64_end(uint64_t locator) const;
  void read_directory(const Directory& directory);
  uint64_t read_entry(uint64_t at, uint64_t end, ZipEntry& entry) const;
  void read_zip64_extra(std::span<const std::byte> extra, ZipEntry& entry) const;
  void check_local_header(ZipEntry& entry, uint64_t directory) const;
  void check_names();
  void check_overlaps() const;
  void check_inflated(const ZipLimits& limits) const;
  void inflate(const ZipEntry& entry, std::byte* out) const;

  std::span<const std::byte> bytes_;
  std::string where_;
  std::vector<ZipEntry> entries_;
  std::vector<uint32_t> by_name_;
};

}  // namespace regraft::sources
