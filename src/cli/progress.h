#pragma once

#include <string_view>

namespace regraft::cli {

// One line on standard error that says what is being done, when that is a terminal. Not
// thread-safe.
class Progress {
 public:
  explicit Progress(bool quiet);
  // Clears the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(std::string_view what);

 private:
  bool shows_;
  bool has_line_ = false;
};

}  // namespace regraft::cli
