#include "backends/cuda/run/compiler.h"

#include <iterator>
#include <memory>

#include "backends/cuda/run/api/nvrtc.h"
#include "base/fail.h"

namespace regraft::cuda {
namespace {

struct Embedded {
  std::string_view name, text;
};

constexpr Embedded kSources[] = {
#include "backends/cuda/kernel_sources.inc"
};

std::string log_of(nvrtcProgram program) {
  size_t bytes = 0;
  nvrtc().nvrtcGetProgramLogSize(program, &bytes);
  std::string log(bytes, '\0');
  nvrtc().nvrtcGetProgramLog(program, log.data());
  return log;
}

}  // namespace

std::string_view kernel_source(std::string_view name) {
  for (const Embedded& source : kSources) {
    if (source.name == name) return source.text;
  }
  base::fail("cuda", ErrorCode::Internal, "no kernel source '", name, "'");
}

std::string_view kernel_source_at(size_t index, std::string_view& name) {
  if (index >= std::size(kSources)) return {};
  name = kSources[index].name;
  return kSources[index].text;
}

std::string compile_cubin(const std::string& source, const std::string& arch) {
  const Nvrtc& api = nvrtc();
  nvrtcProgram program = nullptr;
  if (api.nvrtcCreateProgram(&program, source.c_str(), "kernel.cu", 0, nullptr, nullptr) != 0) {
    base::fail("cuda", ErrorCode::Internal, "NVRTC makes no program");
  }
  const auto destroy = [&](nvrtcProgram p) { api.nvrtcDestroyProgram(&p); };
  const std::unique_ptr<struct _nvrtcProgram, decltype(destroy)> owner(program, destroy);
  const std::string target = "--gpu-architecture=" + arch;
  const char* options[] = {target.c_str(), "--std=c++17", "-default-device"};
  if (api.nvrtcCompileProgram(program, std::size(options), options) != 0) {
    base::fail("cuda", ErrorCode::Internal, "a kernel does not compile for ", arch, ":\n",
               log_of(program));
  }
  size_t bytes = 0;
  api.nvrtcGetCUBINSize(program, &bytes);
  std::string cubin(bytes, '\0');
  api.nvrtcGetCUBIN(program, cubin.data());
  return cubin;
}

std::string compiler_version() {
  int major = 0, minor = 0;
  nvrtc().nvrtcVersion(&major, &minor);
  return base::cat(major, ".", minor);
}

}  // namespace regraft::cuda
