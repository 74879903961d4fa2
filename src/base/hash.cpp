#include "base/hash.h"

#define XXH_INLINE_ALL
#include <cstdio>

#include <xxhash.h>

namespace regraft::base {

uint64_t hash64(const void* data, size_t bytes) { return XXH3_64bits(data, bytes); }

std::string digest(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  char buffer[33];
  std::snprintf(buffer, sizeof buffer, "%016llx%016llx",
                static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return buffer;
}

}  // namespace regraft::base
