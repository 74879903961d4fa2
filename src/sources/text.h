#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace regraft::sources {

// Bytes of the well-formed UTF-8 character that begins at `at` (1 to 4), or 0: overlong forms,
// surrogates and values above U+10FFFF are not well formed (RFC 3629).
size_t utf8_length(std::string_view text, size_t at);

// Appends the UTF-8 form of a Unicode scalar value.
void append_utf8(std::string& out, uint32_t code);

// A name out of a file, fit for a message: at most 200 bytes, control characters and malformed
// UTF-8 as \xNN.
std::string printable(std::string_view text);

}  // namespace regraft::sources
