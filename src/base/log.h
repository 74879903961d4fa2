#pragma once

#include <string_view>

#include "regraft/log.h"

namespace regraft::base {

// Hands a message to the installed callback, if any. Thread-safe.
void log(LogLevel level, std::string_view message);

}  // namespace regraft::base
