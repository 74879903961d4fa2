#include "base/cursor.h"

#include <charconv>

namespace regraft::base {

void Cursor::skip() {
  while (peek() == ' ')
    ++at_;
}

std::string_view Cursor::pass(size_t begin, size_t end) {
  at_ = end;
  skip();
  return text_.substr(begin, end - begin);
}

bool Cursor::take(std::string_view token) {
  if (text_.substr(at_, token.size()) != token) return false;
  pass(at_, at_ + token.size());
  return true;
}

void Cursor::expect(std::string_view token) {
  if (!take(token)) fail();
}

std::string_view Cursor::word() {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  const std::string_view out = take_while(is_word);
  if (out.empty()) fail();
  return out;
}

int64_t Cursor::integer() {
  int64_t value = 0;
  const char* const begin = text_.data() + at_;
  const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
  if (error != std::errc{}) fail();
  pass(at_, static_cast<size_t>(end - text_.data()));
  return value;
}

std::string_view Cursor::quoted() {
  const size_t end = at_end() ? std::string_view::npos : text_.find(peek(), at_ + 1);
  if (end == std::string_view::npos) fail();
  const std::string_view out = text_.substr(at_ + 1, end - at_ - 1);
  pass(at_, end + 1);
  return out;
}

}  // namespace regraft::base
