#pragma once

#include <functional>
#include <string_view>

namespace regraft {

enum class LogLevel { Debug, Info, Warning };

using LogCallback = std::function<void(LogLevel, std::string_view message)>;

// Installs the process-wide receiver of log messages; an empty callback silences them (the
// default). The library itself never prints. Thread-safe; the callback may be called from any
// thread that runs a Regraft function, from several at once. Calls of the one before may still be
// running when this returns.
void set_log_callback(LogCallback callback);

}  // namespace regraft
