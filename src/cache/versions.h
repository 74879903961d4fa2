#pragma once

#include <string>
#include <string_view>

namespace regraft::cache {

// What an entry depends on besides the program and the compiler, as text: the library, the file
// format and the libraries behind a backend's kernels. Throws Error{Unsupported} for a backend that
// this build does not have.
std::string versions(std::string_view backend);

}  // namespace regraft::cache
