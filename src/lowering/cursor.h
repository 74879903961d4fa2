#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace regraft::lowering {

// A place in a one-line text of names, numbers, "text" and punctuation; spaces between them are
// skipped. Texts are compiled in: a mistake in one is Error{"lowering", Internal}.
class Cursor {
 public:
  // `what` names the text in errors.
  Cursor(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  [[noreturn]] void fail() const;
  // The next character; 0 at the end.
  char peek();
  bool at_end() const { return at_ == text_.size(); }
  // Passes `c` if it is next.
  bool take(char c);
  void expect(char c);
  bool at_word();
  std::string_view word();
  // What follows an opening quote, up to the closing one.
  std::string quoted();
  std::variant<int64_t, double> number();

 private:
  std::string_view text_, what_;
  size_t at_ = 0;
};

}  // namespace regraft::lowering
