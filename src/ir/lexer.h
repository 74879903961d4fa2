#pragma once

#include <string>
#include <string_view>

#include "base/fail.h"

namespace regraft::ir {

// Characters of the text form, with position for messages. Comments and blanks are skipped before
// every token.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) { skip(); }

  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }

  // Takes `token` if it stands here; a word token must not run on into a longer word.
  bool take(std::string_view token);
  void expect(std::string_view token);
  // [A-Za-z0-9_.]+ or a quoted string.
  std::string name();
  // A quoted string.
  std::string string();
  // The text of a literal up to one of ",)}]=" or white space, brackets and parentheses balanced.
  std::string_view literal();

  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    const auto [line, column] = position();
    base::fail("ir", ErrorCode::InvalidArgument, "line ", line, ", column ", column, ": ",
               parts...);
  }

 private:
  std::pair<int, int> position() const;
  void skip();
  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace regraft::ir
