#pragma once

#include <variant>

#include "base/cursor.h"

namespace regraft::lowering {

// A place in a rule or a signature. Both are compiled in: a mistake in one is
// Error{"lowering", Internal}.
class Cursor final : public base::Cursor {
 public:
  // `what` names the text in errors.
  Cursor(std::string_view text, std::string_view what) : base::Cursor(text), what_(what) {}

  [[noreturn]] void fail() const override;
  bool at_word() const;
  std::variant<int64_t, double> number();

 private:
  std::string_view what_;
};

}  // namespace regraft::lowering
