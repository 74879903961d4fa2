#include "regraft/error.h"

#include "base/text.h"

namespace regraft {

std::string_view name(ErrorCode code) {
  switch (code) {
    case ErrorCode::InvalidArgument:
      return "invalid_argument";
    case ErrorCode::NotFound:
      return "not_found";
    case ErrorCode::Unsupported:
      return "unsupported";
    case ErrorCode::Corrupt:
      return "corrupt";
    case ErrorCode::Version:
      return "version";
    case ErrorCode::Io:
      return "io";
    case ErrorCode::OutOfMemory:
      return "out_of_memory";
    case ErrorCode::Mismatch:
      return "mismatch";
    case ErrorCode::State:
      return "state";
    case ErrorCode::Internal:
      return "internal";
  }
  return "unknown";
}

Error::Error(std::string_view stage, ErrorCode code, std::string_view message)
    : std::runtime_error(base::cat("[", stage, "] ", message)), stage_(stage), code_(code) {}

}  // namespace regraft
