#include "ir/lexer.h"

#include <utility>

namespace regraft::ir {
namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

}  // namespace

std::pair<int, int> Lexer::position() const {
  int line = 1, column = 1;
  for (size_t i = 0; i < at_ && i < text_.size(); ++i) {
    column = text_[i] == '\n' ? 1 : column + 1;
    line += text_[i] == '\n';
  }
  return {line, column};
}

void Lexer::skip() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      ++at_;
    } else if (c == '#' || text_.substr(at_, 2) == "//") {
      while (at_ < text_.size() && text_[at_] != '\n')
        ++at_;
    } else {
      return;
    }
  }
}

bool Lexer::take(std::string_view token) {
  if (text_.substr(at_, token.size()) != token) return false;
  const size_t end = at_ + token.size();
  if (is_word(token.back()) && end < text_.size() && is_word(text_[end])) return false;
  at_ = end;
  skip();
  return true;
}

void Lexer::expect(std::string_view token) {
  if (!take(token)) {
    fail("want '", token, "', have '", at_end() ? "end of text" : std::string(1, peek()), "'");
  }
}

std::string Lexer::name() {
  if (peek() == '"') return string();
  const size_t begin = at_;
  while (at_ < text_.size() && is_word(text_[at_]))
    ++at_;
  if (begin == at_) fail("want a name");
  std::string out(text_.substr(begin, at_ - begin));
  skip();
  return out;
}

std::string Lexer::string() {
  expect("\"");
  std::string out;
  while (peek() != '"') {
    if (at_end()) fail("string without end");
    if (peek() == '\\') {
      ++at_;
      if (at_end()) fail("string without end");
      out += peek() == 'n' ? '\n' : peek();
    } else {
      out += peek();
    }
    ++at_;
  }
  ++at_;
  skip();
  return out;
}

std::string_view Lexer::literal() {
  const size_t begin = at_;
  int depth = 0;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '(' || c == '[') ++depth;
    if (depth == 0 && std::string_view(",)}]= \n\t\r").find(c) != std::string_view::npos) break;
    if (c == ')' || c == ']') --depth;
    ++at_;
  }
  if (begin == at_) fail("want a value");
  const std::string_view out = text_.substr(begin, at_ - begin);
  skip();
  return out;
}

}  // namespace regraft::ir
