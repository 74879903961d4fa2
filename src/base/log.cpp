#include "base/log.h"

#include <memory>
#include <mutex>
#include <utility>

namespace regraft {
namespace {

std::mutex g_mutex;  // Nobody is called with it: a callback may wait for locks of its own.
std::shared_ptr<const LogCallback> g_callback;

}  // namespace

void set_log_callback(LogCallback callback) {
  auto made = callback ? std::make_shared<const LogCallback>(std::move(callback)) : nullptr;
  const std::lock_guard lock(g_mutex);
  g_callback.swap(made);
}

namespace base {

void log(LogLevel level, std::string_view message) {
  std::shared_ptr<const LogCallback> callback;
  {
    const std::lock_guard lock(g_mutex);
    callback = g_callback;
  }
  if (callback) (*callback)(level, message);
}

}  // namespace base
}  // namespace regraft
