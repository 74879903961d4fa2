#include "cli/progress.h"

#include <cstdio>

#include <unistd.h>

namespace regraft::cli {

Progress::Progress(bool quiet) : shows_(!quiet && isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (has_line_) std::fputs("\r\x1b[K", stderr);
}

void Progress::show(std::string_view what) {
  if (!shows_) return;
  std::fprintf(stderr, "\r\x1b[K%.*s ...", static_cast<int>(what.size()), what.data());
  std::fflush(stderr);
  has_line_ = true;
}

}  // namespace regraft::cli
