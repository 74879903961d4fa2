#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace regraft::base {

// A place in a text of words, integers and punctuation, always at the next token or at the end:
// spaces before and behind tokens are passed. Borrows the text. A reader derives from it and says
// in fail() what it makes of a text that is not as it should be.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) { skip(); }

  // Throws.
  [[noreturn]] virtual void fail() const = 0;

  std::string_view text() const { return text_; }
  size_t position() const { return at_; }
  bool at_end() const { return at_ == text_.size(); }
  // The next character; 0 at the end.
  char peek() const { return at_end() ? '\0' : text_[at_]; }

  // Passes `token` if it is next.
  bool take(std::string_view token);
  void expect(std::string_view token);
  // [A-Za-z0-9_]+
  std::string_view word();
  // -?[0-9]+, of 64 bits.
  int64_t integer();
  // What stands between the next character, a quote, and its like.
  std::string_view quoted();
  // All characters, spaces too, up to the first that is not `wanted`.
  template <typename Predicate>
  std::string_view take_while(Predicate wanted) {
    const size_t begin = at_;
    while (at_ < text_.size() && wanted(text_[at_]))
      ++at_;
    return pass(begin, at_);
  }

 protected:
  ~Cursor() = default;
  Cursor(const Cursor&) = default;
  Cursor& operator=(const Cursor&) = default;

 private:
  void skip();
  std::string_view pass(size_t begin, size_t end);

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace regraft::base
