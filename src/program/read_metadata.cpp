#include "program/read.h"

namespace regraft::program {

// "key,path,type;key,path,type": outermost first.
std::string innermost_module(std::string_view stack) {
  const size_t last = stack.rfind(';');
  const std::string_view entry = last == std::string_view::npos ? stack : stack.substr(last + 1);
  const size_t first_comma = entry.find(',');
  if (first_comma == std::string_view::npos) return "";
  const std::string_view rest = entry.substr(first_comma + 1);
  std::string path(rest.substr(0, rest.find(',')));
  // What the exporter writes for nodes of its own.
  if (path.starts_with("_empty_nn_module_stack")) return "";
  // strict=True writes "L['self']" for the root.
  constexpr std::string_view kRoot = "L['self']";
  if (path.starts_with(kRoot)) {
    path.erase(0, kRoot.size());
    if (path.starts_with('.')) path.erase(0, 1);
  }
  return path;
}

// Frames are "  File \"/a/b.py\", line 12, in forward".
std::string source_line(std::string_view trace) {
  constexpr std::string_view kFile = "File \"", kLine = "\", line ";
  std::string found;
  size_t at = 0;
  while ((at = trace.find(kFile, at)) != std::string_view::npos) {
    at += kFile.size();
    const size_t end = trace.find(kLine, at);
    if (end == std::string_view::npos) break;
    const std::string_view path = trace.substr(at, end - at);
    size_t digits = end + kLine.size();
    const size_t number = digits;
    while (digits < trace.size() && trace[digits] >= '0' && trace[digits] <= '9')
      ++digits;
    at = digits;
    const bool is_torch = path.find("/torch/") != std::string_view::npos;
    if (is_torch && !found.empty()) continue;
    const size_t slash = path.rfind('/');
    found = std::string(slash == std::string_view::npos ? path : path.substr(slash + 1)) + ":" +
            std::string(trace.substr(number, digits - number));
  }
  return found;
}

}  // namespace regraft::program
