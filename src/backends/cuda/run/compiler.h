#pragma once

#include <string>
#include <string_view>

namespace regraft::cuda {

// The text of run/cu/<name>.cu, which the build embeds. Throws Error{Internal} for another name.
std::string_view kernel_source(std::string_view name);
std::string_view kernel_source_at(size_t index, std::string_view& name);  // Empty at the end.

// Compiles CUDA C++ to machine code of `arch` ("sm_90") with NVRTC; needs no GPU and no driver.
// Throws Error{"cuda", Internal} with the compiler's messages, and Error{Unsupported} where there
// is no NVRTC.
std::string compile_cubin(const std::string& source, const std::string& arch);

// The version of NVRTC: "13.0".
std::string compiler_version();

}  // namespace regraft::cuda
