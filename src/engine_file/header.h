#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace regraft::engine_file {

// The first 64 bytes of a file, little-endian. Everything behind it is found through it.
struct Header {
  // Non-text first byte and both line ends, as in PNG: a transfer in text mode breaks it.
  std::array<unsigned char, 8> magic;
  uint32_t layout;           // Version of this struct and of where things lie.
  uint32_t reserved;         // 0.
  uint64_t manifest_offset;  // 64.
  uint64_t manifest_bytes;
  uint64_t manifest_checksum;  // XXH3 of the manifest.
  uint64_t data_offset;        // Section offsets count from here; a multiple of 4096.
  uint64_t file_bytes;
  uint64_t checksum;  // XXH3 of the 56 bytes before.
};
static_assert(sizeof(Header) == 64);

inline constexpr std::array<unsigned char, 8> kMagic = {0x89, 'R',  'G',  'F',
                                                        '\r', '\n', 0x1a, '\n'};
inline constexpr uint32_t kLayout = 1;
// Manifest.format: raised when a reader of the old number would misunderstand the manifest.
inline constexpr uint32_t kFormat = 1;
inline constexpr size_t kSectionAlignment = 64;
// Sections from this size on start on a page of their own.
inline constexpr size_t kLargeSection = size_t{1} << 16;
inline constexpr size_t kPage = 4096;

enum class Form : uint8_t { Embedded = 0, Stripped = 1, Immutable = 2 };

}  // namespace regraft::engine_file
