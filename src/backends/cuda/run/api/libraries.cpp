#include <cstdlib>
#include <filesystem>
#include <type_traits>
#include <vector>

#include <dlfcn.h>
#include <link.h>

#include "backends/cuda/run/api/cublaslt.h"
#include "backends/cuda/run/api/cudnn.h"
#include "backends/cuda/run/api/cupti.h"
#include "backends/cuda/run/api/driver.h"
#include "backends/cuda/run/api/nvrtc.h"
#include "base/fail.h"

namespace regraft::cuda {
namespace {

namespace fs = std::filesystem;

// Where the wheels that PyTorch depends on put their libraries, below a site-packages folder.
constexpr const char* kWheelFolders[] = {"nvidia/cu13/lib", "nvidia/cudnn/lib"};

// REGRAFT_CUDA_PATH (site-packages folders or folders of libraries, separated by colons), then the
// site-packages folder that this library lies in.
std::vector<fs::path> search_folders() {
  std::vector<fs::path> roots;
  if (const char* path = std::getenv("REGRAFT_CUDA_PATH")) {
    std::string_view rest(path);
    while (!rest.empty()) {
      const std::string_view one = rest.substr(0, rest.find(':'));
      if (!one.empty()) roots.emplace_back(one);
      rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    }
  }
  Dl_info here{};
  if (dladdr(reinterpret_cast<const void*>(&search_folders), &here) != 0 &&
      here.dli_fname != nullptr) {
    roots.push_back(fs::path(here.dli_fname).parent_path().parent_path());
  }
  std::vector<fs::path> folders;
  for (const fs::path& root : roots) {
    folders.push_back(root);
    for (const char* folder : kWheelFolders)
      folders.push_back(root / folder);
  }
  folders.emplace_back("/usr/local/cuda/lib64");
  return folders;
}

// As PyTorch finds them: what the process has, the wheels, the system.
void* try_open(const char* soname) {
  if (void* handle = dlopen(soname, RTLD_NOW | RTLD_NOLOAD)) return handle;
  for (const fs::path& folder : search_folders()) {
    const fs::path file = folder / soname;
    std::error_code ignored;
    if (!fs::exists(file, ignored)) continue;
    if (void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL)) return handle;
  }
  return dlopen(soname, RTLD_NOW | RTLD_GLOBAL);
}

template <typename Function>
void find(void* library, const char* soname, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, symbol));
  if (function == nullptr) {
    base::fail("cuda", ErrorCode::Unsupported, soname, " is too old: it has no ", symbol);
  }
}

// NVRTC opens a library of its own by name alone, which in CUDA 13.0 does not lead to its folder:
// the one that lies there is opened beforehand.
void open_builtins(void* library) {
  constexpr std::string_view kBuiltins = "libnvrtc-builtins.so";
  link_map* map = nullptr;
  if (dlinfo(library, RTLD_DI_LINKMAP, static_cast<void*>(&map)) != 0 || map == nullptr) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fs::path(map->l_name).parent_path(), ignored)) {
    if (entry.path().filename().string().starts_with(kBuiltins))
      dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
  }
}

void* open(const char* soname, const char* package) {
  if (void* handle = try_open(soname)) return handle;
  base::fail("cuda", ErrorCode::Unsupported, soname, " was not found (", package,
             "): install PyTorch's CUDA build, or name its folder in REGRAFT_CUDA_PATH");
}

Driver load_driver() {
  constexpr const char* kName = "libcuda.so.1";
  void* library = try_open(kName);
  if (library == nullptr) {
    base::fail("cuda", ErrorCode::Unsupported,
               "no NVIDIA driver: libcuda.so.1 was not found on this machine");
  }
  Driver table;
  constexpr int kOldest = 13000;
  int version = 0;
  find(library, kName, "cuDriverGetVersion", table.cuDriverGetVersion);
  table.cuDriverGetVersion(&version);
  if (version < kOldest) {
    base::fail("cuda", ErrorCode::Unsupported, "the NVIDIA driver is too old: want one for CUDA ",
               kOldest / 1000, ", have one for CUDA ", version / 1000, ".", version % 1000 / 10);
  }
#define REGRAFT_CUDA_FUNCTION(name, symbol, parameters) find(library, kName, symbol, table.name);
  REGRAFT_CUDA_DRIVER(REGRAFT_CUDA_FUNCTION)
#undef REGRAFT_CUDA_FUNCTION
  if (const CUresult result = table.cuInit(0); result != 0) {
    const char* text = "unknown error";
    table.cuGetErrorString(result, &text);
    base::fail("cuda", ErrorCode::Unsupported, "the NVIDIA driver cannot be used: ", text);
  }
  int count = 0;
  table.cuDeviceGetCount(&count);
  if (count == 0) base::fail("cuda", ErrorCode::Unsupported, "the driver sees no GPU");
  return table;
}

}  // namespace

const Driver& driver() {
  static const Driver table = load_driver();
  return table;
}

void check(CUresult result, const char* what) {
  if (result == 0) return;
  const char *name = "CUDA error", *text = "";
  driver().cuGetErrorName(result, &name);
  driver().cuGetErrorString(result, &text);
  base::fail("cuda", result == kOutOfMemory ? ErrorCode::OutOfMemory : ErrorCode::Internal, what,
             ": ", name, " (", text, ")");
}

// A library's table, filled by the first call.
#define REGRAFT_CUDA_FUNCTION(name, symbol, parameters) find(library, kName, symbol, made.name);
#define REGRAFT_CUDA_LIBRARY(Table, table_of, FUNCTIONS, soname, package) \
  const Table& table_of() {                                               \
    static const Table table = [] {                                       \
      constexpr const char* kName = soname;                               \
      void* library = open(kName, package);                               \
      Table made;                                                         \
      FUNCTIONS(REGRAFT_CUDA_FUNCTION)                                    \
      if constexpr (std::is_same_v<Table, Nvrtc>) open_builtins(library); \
      return made;                                                        \
    }();                                                                  \
    return table;                                                         \
  }

REGRAFT_CUDA_LIBRARY(Nvrtc, nvrtc, REGRAFT_CUDA_NVRTC, "libnvrtc.so.13", "nvidia-cuda-nvrtc")
REGRAFT_CUDA_LIBRARY(CublasLt, cublaslt, REGRAFT_CUDA_CUBLASLT, "libcublasLt.so.13",
                     "nvidia-cublas")
REGRAFT_CUDA_LIBRARY(Cudnn, cudnn, REGRAFT_CUDA_CUDNN, "libcudnn.so.9", "nvidia-cudnn-cu13")
REGRAFT_CUDA_LIBRARY(Cupti, cupti, REGRAFT_CUDA_CUPTI, "libcupti.so.13", "nvidia-cuda-cupti")

#undef REGRAFT_CUDA_LIBRARY
#undef REGRAFT_CUDA_FUNCTION

}  // namespace regraft::cuda
