#pragma once

#include <cstddef>

// The part of NVRTC (libnvrtc.so.13) that the backend calls.
namespace regraft::cuda {

using nvrtcProgram = struct _nvrtcProgram*;

#define REGRAFT_CUDA_NVRTC(X)                                                                \
  X(nvrtcVersion, "nvrtcVersion", (int* major, int* minor))                                  \
  X(nvrtcCreateProgram, "nvrtcCreateProgram",                                                \
    (nvrtcProgram * program, const char* source, const char* name, int headers,              \
     const char* const* header_texts, const char* const* header_names))                      \
  X(nvrtcDestroyProgram, "nvrtcDestroyProgram", (nvrtcProgram * program))                    \
  X(nvrtcCompileProgram, "nvrtcCompileProgram",                                              \
    (nvrtcProgram program, int count, const char* const* options))                           \
  X(nvrtcGetCUBINSize, "nvrtcGetCUBINSize", (nvrtcProgram program, size_t* bytes))           \
  X(nvrtcGetCUBIN, "nvrtcGetCUBIN", (nvrtcProgram program, char* cubin))                     \
  X(nvrtcGetProgramLogSize, "nvrtcGetProgramLogSize", (nvrtcProgram program, size_t* bytes)) \
  X(nvrtcGetProgramLog, "nvrtcGetProgramLog", (nvrtcProgram program, char* log))

struct Nvrtc {
// A parameter list, which already has its parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses)
#define REGRAFT_CUDA_FUNCTION(name, symbol, parameters) int(*name) parameters = nullptr;
  REGRAFT_CUDA_NVRTC(REGRAFT_CUDA_FUNCTION)
#undef REGRAFT_CUDA_FUNCTION
};

// Throws Error{"cuda", Unsupported} when the library cannot be found.
const Nvrtc& nvrtc();

}  // namespace regraft::cuda
