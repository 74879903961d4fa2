#pragma once

#include <locale>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace regraft::base {

// Concatenates the streamed form of its arguments: cat("want ", 3) == "want 3".
template <typename... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  out.imbue(std::locale::classic());  // Not the application's, which may group digits.
  (out << ... << args);
  return out.str();
}

std::string join(const std::vector<std::string>& parts, std::string_view separator);

// The candidate with the smallest edit distance to `name`, if it is close enough to be a likely
// misspelling (distance <= max(2, a third of the length)).
std::optional<std::string> nearest(std::string_view name,
                                   const std::vector<std::string>& candidates);

// Shortest decimal text that reads back as exactly `value`; always has a '.', an exponent, or is
// one of "inf", "-inf", "nan", so that it never reads as an integer.
std::string float_text(double value);

}  // namespace regraft::base
