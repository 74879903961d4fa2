#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fail.h"

namespace regraft::refit {

// Everything that is wrong with a refit, to be told in one error.
class Problems {
 public:
  explicit Problems(std::string stage) : stage_(std::move(stage)) {}

  template <typename... Parts>
  void add(ErrorCode code, const Parts&... parts) {
    if (lines_.empty()) code_ = code;
    lines_.push_back(base::cat(parts...));
  }
  size_t count() const { return lines_.size(); }

  // Throws Error{stage, code of the first problem} when there are any.
  void raise() const {
    if (lines_.empty()) return;
    if (lines_.size() == 1) base::fail(stage_, code_, lines_[0]);
    base::fail(stage_, code_, lines_.size(), " problems:\n  ", base::join(lines_, "\n  "));
  }

 private:
  std::string stage_;
  ErrorCode code_ = ErrorCode::Mismatch;
  std::vector<std::string> lines_;
};

}  // namespace regraft::refit
