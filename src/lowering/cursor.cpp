#include "lowering/cursor.h"

#include <cctype>
#include <charconv>

#include "base/fail.h"

namespace regraft::lowering {

void Cursor::fail() const {
  base::fail("lowering", ErrorCode::Internal, "bad ", what_, " at character ", position(), ": ",
             text());
}

bool Cursor::at_word() const {
  return std::isalpha(static_cast<unsigned char>(peek())) != 0 || peek() == '_';
}

std::variant<int64_t, double> Cursor::number() {
  const std::string_view digits = take_while(
      [](char c) { return std::string_view(",)}] ").find(c) == std::string_view::npos; });
  const char* const last = digits.data() + digits.size();
  int64_t whole = 0;
  if (std::from_chars(digits.data(), last, whole).ptr == last) return whole;
  double real = 0;
  if (std::from_chars(digits.data(), last, real).ptr != last) fail();
  return real;
}

}  // namespace regraft::lowering
