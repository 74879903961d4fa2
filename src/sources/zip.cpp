#include "sources/zip.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include <zlib.h>

#include "base/fail.h"
#include "regraft/tensor.h"
#include "sources/text.h"

namespace regraft::sources {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kEntrySignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kZip64EndSignature = 0x06064b50;
constexpr uint32_t kZip64LocatorSignature = 0x07064b50;
constexpr uint64_t kLocalBytes = 30, kEntryBytes = 46, kEndBytes = 22;
constexpr uint64_t kZip64EndBytes = 56, kZip64LocatorBytes = 20;
constexpr uint16_t kSaturated16 = 0xffff;
constexpr uint32_t kSaturated32 = 0xffffffff;
// No deflate stream grows further than this (zlib's technical notes).
constexpr uint64_t kMaxDeflateRatio = 1032;

template <typename... Parts>
[[noreturn]] void fail_corrupt(const std::string& where, const Parts&... parts) {
  base::fail("sources", ErrorCode::Corrupt, where, ": ZIP: ", parts...);
}

template <typename... Parts>
[[noreturn]] void fail_unsupported(const std::string& where, const Parts&... parts) {
  base::fail("sources", ErrorCode::Unsupported, where, ": ZIP: ", parts...);
}

}  // namespace

bool ZipArchive::is_zip(std::span<const std::byte> bytes) {
  if (bytes.size() < 4) return false;
  const auto signature = load<uint32_t>(bytes, 0);
  return signature == kLocalSignature || signature == kEndSignature;
}

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string where, const ZipLimits& limits)
    : bytes_(bytes), where_(std::move(where)) {
  read_directory(find_directory());
  check_names();
  check_overlaps();
  check_inflated(limits);
}

// The end record is the last thing in the file but for its comment, whose length it states.
ZipArchive::Directory ZipArchive::find_directory() const {
  const uint64_t size = bytes_.size();
  for (uint64_t comment = 0; comment <= kSaturated16 && kEndBytes + comment <= size; ++comment) {
    const uint64_t at = size - kEndBytes - comment;
    if (load<uint32_t>(bytes_, at) != kEndSignature) continue;
    if (load<uint16_t>(bytes_, at + 20) != comment) continue;
    const auto disk = load<uint16_t>(bytes_, at + 4), first_disk = load<uint16_t>(bytes_, at + 6);
    const auto here = load<uint16_t>(bytes_, at + 8), entries = load<uint16_t>(bytes_, at + 10);
    const Directory directory{load<uint32_t>(bytes_, at + 16), load<uint32_t>(bytes_, at + 12),
                              entries};
    const bool has_locator =
        at >= kZip64LocatorBytes &&
        load<uint32_t>(bytes_, at - kZip64LocatorBytes) == kZip64LocatorSignature;
    if (has_locator) return read_zip64_end(at - kZip64LocatorBytes);
    if (disk != 0 || first_disk != 0 || here != entries) {
      fail_unsupported(where_, "archives of several volumes");
    }
    if (!fits(directory.offset, directory.bytes, at)) {
      fail_corrupt(where_, "the directory lies outside the file");
    }
    return directory;
  }
  fail_corrupt(where_, "no end record: the file is truncated or not an archive");
}

ZipArchive::Directory ZipArchive::read_zip64_end(uint64_t locator) const {
  const auto at = load<uint64_t>(bytes_, locator + 8);
  if (!fits(at, kZip64EndBytes, locator) || load<uint32_t>(bytes_, at) != kZip64EndSignature) {
    fail_corrupt(where_, "no ZIP64 end record at byte ", at);
  }
  const Directory directory{load<uint64_t>(bytes_, at + 48), load<uint64_t>(bytes_, at + 40),
                            load<uint64_t>(bytes_, at + 32)};
  if (load<uint32_t>(bytes_, at + 16) != 0 || load<uint32_t>(bytes_, at + 20) != 0 ||
      load<uint64_t>(bytes_, at + 24) != directory.entries) {
    fail_unsupported(where_, "archives of several volumes");
  }
  if (!fits(directory.offset, directory.bytes, at)) {
    fail_corrupt(where_, "the directory lies outside the file");
  }
  return directory;
}

void ZipArchive::read_directory(const Directory& directory) {
  // The stated count is only trusted once it agrees with the bytes.
  if (directory.entries > directory.bytes / kEntryBytes) {
    fail_corrupt(where_, directory.entries, " members do not fit into a directory of ",
                 directory.bytes, " bytes");
  }
  const uint64_t end = directory.offset + directory.bytes;
  uint64_t at = directory.offset;
  entries_.reserve(directory.entries);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    ZipEntry entry;
    at = read_entry(at, end, entry);
    check_local_header(entry, directory.offset);
    entries_.push_back(std::move(entry));
  }
  if (at != end) fail_corrupt(where_, "the directory has ", end - at, " bytes too many");
}

// Returns the offset behind the entry.
uint64_t ZipArchive::read_entry(uint64_t at, uint64_t end, ZipEntry& entry) const {
  if (!fits(at, kEntryBytes, end) || load<uint32_t>(bytes_, at) != kEntrySignature) {
    fail_corrupt(where_, "no directory entry at byte ", at);
  }
  const uint64_t name_bytes = load<uint16_t>(bytes_, at + 28);
  const uint64_t extra_bytes = load<uint16_t>(bytes_, at + 30);
  const uint64_t comment_bytes = load<uint16_t>(bytes_, at + 32);
  const uint64_t name_at = at + kEntryBytes;
  if (!fits(name_at, name_bytes + extra_bytes + comment_bytes, end)) {
    fail_corrupt(where_, "the directory entry at byte ", at, " is cut off");
  }
  entry.name = Record{bytes_.subspan(name_at, name_bytes), {}}.text();
  entry.crc = load<uint32_t>(bytes_, at + 16);
  entry.stored_bytes = load<uint32_t>(bytes_, at + 20);
  entry.bytes = load<uint32_t>(bytes_, at + 24);
  entry.header_offset = load<uint32_t>(bytes_, at + 42);
  constexpr uint16_t kEncrypted = 1 | 1 << 6 | 1 << 13;
  if ((load<uint16_t>(bytes_, at + 8) & kEncrypted) != 0) {
    fail_unsupported(where_, printable(entry.name), " is encrypted");
  }
  const auto method = load<uint16_t>(bytes_, at + 10);
  if (method != 0 && method != 8) {
    fail_unsupported(where_, printable(entry.name),
                     ": want method 0 (stored) or 8 (deflated), have ", method);
  }
  entry.deflated = method == 8;
  read_zip64_extra(bytes_.subspan(name_at + name_bytes, extra_bytes), entry);
  if (entry.deflated ? entry.bytes / kMaxDeflateRatio > entry.stored_bytes
                     : entry.bytes != entry.stored_bytes) {
    fail_corrupt(where_, printable(entry.name), ": ", entry.stored_bytes, " bytes cannot hold ",
                 entry.bytes);
  }
  return name_at + name_bytes + extra_bytes + comment_bytes;
}

// The ZIP64 field holds, in this order, those numbers that are saturated in the entry itself.
void ZipArchive::read_zip64_extra(std::span<const std::byte> extra, ZipEntry& entry) const {
  constexpr uint16_t kZip64Id = 1;
  for (uint64_t at = 0; fits(at, 4, extra.size());) {
    const uint64_t bytes = load<uint16_t>(extra, at + 2);
    if (!fits(at + 4, bytes, extra.size())) break;
    if (load<uint16_t>(extra, at) == kZip64Id) {
      uint64_t field = at + 4;
      for (uint64_t* value : {&entry.bytes, &entry.stored_bytes, &entry.header_offset}) {
        if (*value != kSaturated32) continue;
        if (!fits(field, 8, at + 4 + bytes)) {
          fail_corrupt(where_, printable(entry.name), ": the ZIP64 field is too short");
        }
        *value = load<uint64_t>(extra, field);
        field += 8;
      }
      return;
    }
    at += 4 + bytes;
  }
}

// Finds the data, which lie behind the local header and before the directory.
void ZipArchive::check_local_header(ZipEntry& entry, uint64_t directory) const {
  const uint64_t at = entry.header_offset;
  if (!fits(at, kLocalBytes, directory) || load<uint32_t>(bytes_, at) != kLocalSignature) {
    fail_corrupt(where_, printable(entry.name), ": no header at byte ", at);
  }
  const uint64_t name_bytes = load<uint16_t>(bytes_, at + 26);
  const uint64_t extra_bytes = load<uint16_t>(bytes_, at + 28);
  const uint64_t header = kLocalBytes + name_bytes + extra_bytes;
  if (!fits(at, header, directory) || !fits(at + header, entry.stored_bytes, directory)) {
    fail_corrupt(where_, printable(entry.name), ": want ", entry.stored_bytes,
                 " bytes of data, have ", directory - at, " up to the directory");
  }
  const Record name{bytes_.subspan(at + kLocalBytes, name_bytes), {}};
  const bool deflated = load<uint16_t>(bytes_, at + 8) == 8;
  if (name.text() != entry.name || deflated != entry.deflated) {
    fail_corrupt(where_, printable(entry.name), ": header and directory differ");
  }
  entry.data_offset = at + header;
}

void ZipArchive::check_names() {
  if (entries_.size() > std::numeric_limits<uint32_t>::max())
    fail_corrupt(where_, "too many members");
  by_name_.resize(entries_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  std::sort(by_name_.begin(), by_name_.end(),
            [&](uint32_t a, uint32_t b) { return entries_[a].name < entries_[b].name; });
  for (size_t i = 1; i < by_name_.size(); ++i) {
    const std::string& name = entries_[by_name_[i]].name;
    if (name == entries_[by_name_[i - 1]].name) {
      fail_corrupt(where_, printable(name), " occurs twice");
    }
  }
}

// Members that share bytes are how a small file claims to hold a large one.
void ZipArchive::check_overlaps() const {
  std::vector<const ZipEntry*> order;
  order.reserve(entries_.size());
  for (const ZipEntry& entry : entries_)
    order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const ZipEntry* a, const ZipEntry* b) {
    return a->header_offset < b->header_offset;
  });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->data_offset + order[i - 1]->stored_bytes > order[i]->header_offset) {
      fail_corrupt(where_, printable(order[i - 1]->name), " and ", printable(order[i]->name),
                   " overlap");
    }
  }
}

void ZipArchive::check_inflated(const ZipLimits& limits) const {
  const uint64_t size = bytes_.size();
  uint64_t allowed = limits.ceiling;
  if (limits.ratio == 0 || size < limits.ceiling / limits.ratio) {
    allowed = std::min(allowed, limits.floor + size * limits.ratio);
  }
  uint64_t left = allowed;
  for (const ZipEntry& entry : entries_) {
    if (!entry.deflated) continue;
    if (entry.bytes > left) {
      base::fail("sources", ErrorCode::OutOfMemory, where_, ": ZIP: ", printable(entry.name),
                 ": the compressed members grow beyond ", allowed,
                 " bytes; store them uncompressed if this is no attack");
    }
    left -= entry.bytes;
  }
}

const ZipEntry* ZipArchive::find(std::string_view name) const {
  const auto at =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [&](uint32_t i, std::string_view n) { return entries_[i].name < n; });
  if (at == by_name_.end() || entries_[*at].name != name) return nullptr;
  return &entries_[*at];
}

Record ZipArchive::read(const ZipEntry& entry) const {
  if (!entry.deflated) return {bytes_.subspan(entry.data_offset, entry.bytes), {}};
  const auto memory = std::make_shared<Tensor>(DType::U8, Dims{static_cast<int64_t>(entry.bytes)});
  auto* out = memory->mutable_view().as_mutable<std::byte>();
  inflate(entry, out);
  return {{out, entry.bytes}, memory};
}

void ZipArchive::inflate(const ZipEntry& entry, std::byte* out) const {
  const auto chunk = [](uint64_t left) {
    return static_cast<uInt>(std::min<uint64_t>(left, uint64_t{1} << 30));
  };
  struct Stream : z_stream {
    ~Stream() { inflateEnd(this); }
  } stream{};
  // Negative window bits: a raw stream, without zlib's own header.
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
    base::fail("sources", ErrorCode::OutOfMemory, where_, ": cannot start zlib");
  }
  const std::byte* in = bytes_.data() + entry.data_offset;
  uint64_t in_left = entry.stored_bytes, out_left = entry.bytes;
  int status = Z_OK;
  while (status == Z_OK) {
    const uInt in_chunk = chunk(in_left), out_chunk = chunk(out_left);
    stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in));
    stream.next_out = reinterpret_cast<Bytef*>(out);
    stream.avail_in = in_chunk;
    stream.avail_out = out_chunk;
    status = ::inflate(&stream, Z_NO_FLUSH);
    in += in_chunk - stream.avail_in;
    out += out_chunk - stream.avail_out;
    in_left -= in_chunk - stream.avail_in;
    out_left -= out_chunk - stream.avail_out;
    // Without progress zlib says Z_BUF_ERROR, which ends the loop.
  }
  if (status != Z_STREAM_END || in_left != 0 || out_left != 0) {
    fail_corrupt(where_, printable(entry.name), ": does not inflate to ", entry.bytes, " bytes");
  }
}

void ZipArchive::check_crc(const ZipEntry& entry, const Record& record) const {
  const auto* data = reinterpret_cast<const Bytef*>(record.bytes.data());
  const auto crc = static_cast<uint32_t>(crc32_z(0, data, record.bytes.size()));
  if (crc != entry.crc) {
    fail_corrupt(where_, printable(entry.name), ": want CRC-32 ", entry.crc, ", have ", crc);
  }
}

}  // namespace regraft::sources
