#include "base/log.h"

#include <mutex>
#include <utility>

namespace regraft {
namespace {

std::mutex g_mutex;
LogCallback g_callback;

}  // namespace

void set_log_callback(LogCallback callback) {
  const std::lock_guard lock(g_mutex);
  g_callback = std::move(callback);
}

namespace base {

void log(LogLevel level, std::string_view message) {
  const std::lock_guard lock(g_mutex);
  if (g_callback) g_callback(level, message);
}

}  // namespace base
}  // namespace regraft
