#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace regraft {

// What went wrong, for callers that branch on it. Ids are append-only.
enum class ErrorCode {
  InvalidArgument,  // A value the caller passed is not usable (unknown option, wrong rank, ...).
  NotFound,         // A file, name or entry does not exist.
  Unsupported,      // Well formed, but outside what this build can do.
  Corrupt,          // Bytes that contradict themselves or fail their checksum.
  Version,          // Bytes of a format version this build does not read.
  Io,               // The operating system refused a read or write.
  OutOfMemory,      // An allocation failed or a size passes a stated limit.
  Mismatch,         // Shape, dtype or name differs from what the engine declares.
  State,            // The call is not allowed now (stripped engine, immutable engine, ...).
  Internal,         // A broken invariant of Regraft itself: please report.
};

// The name of a code in snake_case, e.g. "invalid_argument".
std::string_view name(ErrorCode code);

// The one exception type of the C++ API. `what()` reads "[stage] where: want ..., have ...".
// Every failed call leaves the objects it was called on as they were, but for memory that is kept
// for speed and for Engine::rollback().
class Error : public std::runtime_error {
 public:
  // stage: the vocabulary word of the part that failed ("program", "refit", "engine_file", ...).
  Error(std::string_view stage, ErrorCode code, std::string_view message);

  const std::string& stage() const { return stage_; }
  ErrorCode code() const { return code_; }

 private:
  std::string stage_;
  ErrorCode code_;
};

}  // namespace regraft
