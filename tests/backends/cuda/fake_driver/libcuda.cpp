// A driver for tests on machines without one: memory is the host's, kernels do nothing. What it
// says of itself is in FAKE_CUDA, "version=12080 devices=0 init=999 major=7 free=1000". It counts
// what it is asked to do.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "backends/cuda/run/api/driver.h"

namespace {

using namespace regraft::cuda;

constexpr CUresult kUnknownPointer = 1;

long setting(const char* name, long otherwise) {
  const char* const all = std::getenv("FAKE_CUDA");
  const std::string text = std::string(" ") + (all == nullptr ? "" : all);
  const std::string key = std::string(" ") + name + "=";
  const size_t at = text.find(key);
  return at == std::string::npos ? otherwise : std::atol(text.c_str() + at + key.size());
}

struct Memory {
  std::mutex mutex;
  std::map<CUdeviceptr, size_t> blocks;
  size_t used = 0;
};

Memory& memory() {
  static Memory& made = *new Memory;
  return made;
}

size_t total_bytes() { return static_cast<size_t>(setting("free", 1L << 30)); }

CUresult allocate(CUdeviceptr* data, size_t bytes) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  if (bytes > total_bytes() - all.used) return kOutOfMemory;
  *data = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  all.blocks[*data] = bytes;
  all.used += bytes;
  return 0;
}

CUresult release(CUdeviceptr data) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  const auto found = all.blocks.find(data);
  if (found == all.blocks.end()) return kUnknownPointer;
  all.used -= found->second;
  all.blocks.erase(found);
  std::free(reinterpret_cast<void*>(data));
  return 0;
}

CUresult attribute_of(void* value, int attribute, CUdeviceptr data) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  const auto after = all.blocks.upper_bound(data);
  if (after == all.blocks.begin()) return kUnknownPointer;
  const auto block = std::prev(after);
  if (data >= block->first + block->second) return kUnknownPointer;
  if (attribute == kPointerMemoryType) *static_cast<unsigned*>(value) = kDeviceMemory;
  if (attribute == kPointerDeviceOrdinal) {
    *static_cast<int*>(value) = static_cast<int>(setting("ordinal", 0));
  }
  return 0;
}

template <typename Handle>
CUresult make(Handle* handle) {
  static char something;
  *handle = reinterpret_cast<Handle>(&something);
  return 0;
}

CUresult device_attribute(int* value, int attribute) {
  *value = attribute == kComputeCapabilityMajor   ? static_cast<int>(setting("major", 9))
           : attribute == kComputeCapabilityMinor ? 0
                                                  : 132;
  return 0;
}

template <typename T>
CUresult give(T* to, T value) {
  *to = value;
  return 0;
}

// Of calls that cost time, by kind.
std::map<std::string, long>& calls() {
  static auto& made = *new std::map<std::string, long>;
  return made;
}

void count(const char* kind) {
  const std::lock_guard lock(memory().mutex);
  ++calls()[kind];
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {
// How often it was asked for "memory", "copy", "clear", "launch", "graph" and "wait".
long fakeCudaCalls(const char* kind) {
  const std::lock_guard lock(memory().mutex);
  return calls()[kind];
}
CUresult cuInit(unsigned) { return static_cast<CUresult>(setting("init", 0)); }
CUresult cuDriverGetVersion(int* version) {
  return give(version, static_cast<int>(setting("version", 13000)));
}
CUresult cuGetErrorName(CUresult, const char** text) { return give(text, "CUDA_ERROR_FAKE"); }
CUresult cuGetErrorString(CUresult, const char** text) { return give(text, "a fake error"); }
CUresult cuDeviceGetCount(int* count) {
  return give(count, static_cast<int>(setting("devices", 1)));
}
CUresult cuDeviceGet(CUdevice* device, int ordinal) { return give(device, ordinal); }
CUresult cuDeviceGetName(char* name, int size, CUdevice) {
  std::strncpy(name, "Fake GPU", static_cast<size_t>(size));
  return 0;
}
CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
  return device_attribute(value, attribute);
}
CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) { return give(bytes, size_t{1} << 40); }
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) { return make(context); }
CUresult cuCtxPushCurrent_v2(CUcontext) { return 0; }
CUresult cuCtxPopCurrent_v2(CUcontext* context) { return make(context); }
CUresult cuCtxSynchronize() { return 0; }
CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  const std::lock_guard lock(memory().mutex);
  *total = total_bytes();
  *free = *total - memory().used;
  return 0;
}
CUresult cuMemAlloc_v2(CUdeviceptr* data, size_t bytes) {
  count("memory");
  return allocate(data, bytes);
}
CUresult cuMemFree_v2(CUdeviceptr data) { return release(data); }
CUresult cuMemHostAlloc(void** data, size_t bytes, unsigned) {
  count("memory");
  return give(data, std::malloc(bytes));
}
CUresult cuMemFreeHost(void* data) {
  std::free(data);
  return 0;
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
  count("copy");
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  return 0;
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
  count("clear");
  std::memset(reinterpret_cast<void*>(to), value, bytes);
  return 0;
}
CUresult cuPointerGetAttribute(void* value, int attribute, CUdeviceptr data) {
  return attribute_of(value, attribute, data);
}
CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned, int) { return make(stream); }
CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return 0;
}
CUresult cuStreamDestroy_v2(CUstream) { return 0; }
CUresult cuStreamSynchronize(CUstream) {
  count("wait");
  return 0;
}
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned) { return 0; }
CUresult cuStreamBeginCapture_v2(CUstream, int) { return 0; }
CUresult cuStreamEndCapture(CUstream, CUgraph* graph) { return make(graph); }
CUresult cuStreamIsCapturing(CUstream, int* status) { return give(status, 0); }
CUresult cuEventCreate(CUevent* event, unsigned) { return make(event); }
CUresult cuEventDestroy_v2(CUevent) { return 0; }
CUresult cuEventRecord(CUevent, CUstream) { return 0; }
CUresult cuEventRecordWithFlags(CUevent, CUstream, unsigned) { return 0; }
CUresult cuEventSynchronize(CUevent) { return 0; }
CUresult cuEventElapsedTime(float* ms, CUevent, CUevent) { return give(ms, 1.F); }
CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph, unsigned long long) {
  return make(out);
}
CUresult cuGraphLaunch(CUgraphExec, CUstream) {
  count("graph");
  return 0;
}
CUresult cuGraphDestroy(CUgraph) { return 0; }
CUresult cuGraphExecDestroy(CUgraphExec) { return 0; }
CUresult cuModuleLoadData(CUmodule* module, const void*) { return make(module); }
CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char*) { return make(function); }
CUresult cuFuncSetAttribute(CUfunction, int, int) { return 0; }
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        unsigned, CUstream, void**, void**) {
  count("launch");
  return 0;
}
}
#pragma GCC visibility pop
