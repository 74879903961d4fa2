#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace regraft::base {

// XXH3, 64 bits (https://github.com/Cyan4973/xxHash).
uint64_t hash64(const void* data, size_t bytes);

// XXH3, 128 bits, as 32 lower-case hex digits.
std::string digest(std::string_view text);

}  // namespace regraft::base
