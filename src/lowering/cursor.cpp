#include "lowering/cursor.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/fail.h"

namespace regraft::lowering {

void Cursor::fail() const {
  base::fail("lowering", ErrorCode::Internal, "bad ", what_, " at character ", at_, ": ", text_);
}

char Cursor::peek() {
  while (at_ < text_.size() && text_[at_] == ' ')
    ++at_;
  return at_ < text_.size() ? text_[at_] : '\0';
}

bool Cursor::take(char c) {
  if (peek() != c) return false;
  ++at_;
  return true;
}

void Cursor::expect(char c) {
  if (!take(c)) fail();
}

bool Cursor::at_word() {
  const char c = peek();
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}

std::string_view Cursor::word() {
  peek();
  const size_t begin = at_;
  while (at_ < text_.size() &&
         (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_')) {
    ++at_;
  }
  if (begin == at_) fail();
  return text_.substr(begin, at_ - begin);
}

std::string Cursor::quoted() {
  const size_t end = text_.find('"', at_);
  if (end == std::string_view::npos) fail();
  std::string value(text_.substr(at_, end - at_));
  at_ = end + 1;
  return value;
}

std::variant<int64_t, double> Cursor::number() {
  const size_t end = std::min(text_.find_first_of(",)}] ", at_), text_.size());
  const std::string_view digits = text_.substr(at_, end - at_);
  const char* const last = digits.data() + digits.size();
  at_ = end;
  int64_t whole = 0;
  if (std::from_chars(digits.data(), last, whole).ptr == last) return whole;
  double real = 0;
  if (std::from_chars(digits.data(), last, real).ptr != last) fail();
  return real;
}

}  // namespace regraft::lowering
