#pragma once

#include <string_view>

#include "base/text.h"
#include "regraft/error.h"

namespace regraft::base {

// Throws Error{stage, code} with the concatenation of `parts` as message.
template <typename... Parts>
[[noreturn]] void fail(std::string_view stage, ErrorCode code, const Parts&... parts) {
  throw Error(stage, code, cat(parts...));
}

}  // namespace regraft::base
