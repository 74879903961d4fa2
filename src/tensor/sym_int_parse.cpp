#include <charconv>

#include "base/fail.h"
#include "tensor/sym_int.h"

namespace regraft {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  SymInt parse() {
    constexpr size_t kLongest = 4096;
    if (text_.size() > kLongest) fail();
    const SymInt value = sum();
    if (at_ != text_.size()) fail();
    return value;
  }

 private:
  [[noreturn]] void fail() const {
    base::fail("shape", ErrorCode::InvalidArgument, "not a size expression: '",
               text_.substr(0, 200), "' (at character ", at_, ")");
  }

  void skip_space() {
    while (at_ < text_.size() && text_[at_] == ' ')
      ++at_;
  }

  bool take(std::string_view token) {
    skip_space();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    skip_space();
    return true;
  }

  SymInt sum() {
    if (++depth_ > 64) fail();
    SymInt value = product();
    while (true) {
      if (take("+")) {
        value = value + product();
      } else if (take("-")) {
        value = value - product();
      } else {
        --depth_;
        return value;
      }
    }
  }

  SymInt product() {
    SymInt value = atom();
    while (true) {
      if (take("//")) {
        value = floordiv(value, atom());
      } else if (take("*")) {
        value = value * atom();
      } else {
        return value;
      }
    }
  }

  SymInt atom() {
    bool is_negative = false;
    while (take("-"))
      is_negative = !is_negative;
    skip_space();
    if (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') return number(is_negative);
    return is_negative ? unsigned_atom() * -1 : unsigned_atom();
  }

  SymInt unsigned_atom() {
    if (take("(")) {
      const SymInt value = sum();
      if (!take(")")) fail();
      return value;
    }
    const std::string_view word = identifier();
    for (const std::string_view function : {"floordiv", "mod", "min", "max"}) {
      if (word != function || !take("(")) continue;
      const SymInt a = sum();
      if (!take(",")) fail();
      const SymInt b = sum();
      if (!take(")")) fail();
      return function == "floordiv" ? floordiv(a, b)
             : function == "mod"    ? mod(a, b)
             : function == "min"    ? min(a, b)
                                    : max(a, b);
    }
    return SymInt::symbol(word);
  }

  // With its sign, since the smallest integer has no positive counterpart.
  SymInt number(bool is_negative) {
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9')
      ++at_;
    const std::string digits =
        (is_negative ? "-" : "") + std::string(text_.substr(begin, at_ - begin));
    int64_t value = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc()) {
      base::fail("shape", ErrorCode::OutOfMemory, "size overflows: ", digits.substr(0, 200));
    }
    return value;
  }

  std::string_view identifier() {
    const size_t begin = at_;
    const auto is_word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    while (at_ < text_.size() && is_word(text_[at_]))
      ++at_;
    if (begin == at_) fail();
    return text_.substr(begin, at_ - begin);
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

SymInt SymInt::parse(std::string_view text) { return Parser(text).parse(); }

}  // namespace regraft
