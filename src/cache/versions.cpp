#include "cache/versions.h"

#include "backends/run_backend.h"
#include "base/text.h"
#include "engine_file/header.h"

namespace regraft::cache {

std::string versions(std::string_view backend) {
  return base::cat("regraft ", REGRAFT_VERSION, "\nengine file ", engine_file::kFormat,
                   "\nbackend ", backend, " ", backends::run_backend(backend).libraries(), "\n");
}

}  // namespace regraft::cache
