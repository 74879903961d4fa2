// A driver for tests on machines without one: memory is the host's, kernels do nothing. What it
// says of itself is in FAKE_CUDA, "version=12080 devices=0 init=999 major=7 free=1000 refuse=1
// capturing=1" (it refuses copies, and all streams are captured). It counts what it is asked to do.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include <sys/mman.h>

#include "backends/cuda/run/api/driver.h"

namespace {

using namespace regraft::cuda;

constexpr CUresult kUnknownPointer = 1, kInvalid = 1;

long setting(const char* name, long otherwise) {
  const char* const all = std::getenv("FAKE_CUDA");
  const std::string text = std::string(" ") + (all == nullptr ? "" : all);
  const std::string key = std::string(" ") + name + "=";
  const size_t at = text.find(key);
  return at == std::string::npos ? otherwise : std::atol(text.c_str() + at + key.size());
}

// Blocks lie next to each other, as they often do on a device.
struct Memory {
  std::mutex mutex;
  std::map<CUdeviceptr, size_t> blocks;
  std::map<CUdeviceptr, size_t> pinned;  // The host's.
  size_t used = 0;
  CUdeviceptr next = 0, end = 0;

  // The block of `all` that holds the address; its end where there is none.
  static std::map<CUdeviceptr, size_t>::const_iterator find_in(
      const std::map<CUdeviceptr, size_t>& all, CUdeviceptr data) {
    const auto after = all.upper_bound(data);
    if (after == all.begin()) return all.end();
    const auto block = std::prev(after);
    return data < block->first + block->second ? block : all.end();
  }
  std::map<CUdeviceptr, size_t>::const_iterator find(CUdeviceptr data) const {
    return find_in(blocks, data);
  }
  // Whether it is all of one block, or none of the device's.
  bool is_one_piece(CUdeviceptr data, size_t bytes) const {
    const auto block = find(data);
    if (block == blocks.end()) return data + bytes <= end - kRoom || data >= end;
    return data + bytes <= block->first + block->second;
  }

  static constexpr size_t kRoom = size_t{1} << 36;
};

Memory& memory() {
  static Memory& made = *[] {
    auto* const fresh = new Memory;
    void* const room = mmap(nullptr, Memory::kRoom, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) std::abort();
    fresh->next = reinterpret_cast<CUdeviceptr>(room);
    fresh->end = fresh->next + Memory::kRoom;
    return fresh;
  }();
  return made;
}

size_t total_bytes() { return static_cast<size_t>(setting("free", 1L << 30)); }

CUresult allocate(CUdeviceptr* data, size_t bytes) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  if (all.used > total_bytes() || bytes > total_bytes() - all.used) return kOutOfMemory;
  const size_t rounded = (bytes + 511) / 512 * 512;
  if (rounded > all.end - all.next) return kOutOfMemory;
  *data = all.next;
  all.next += rounded;
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
  return 0;
}

CUresult attribute_of(void* value, int attribute, CUdeviceptr data) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  if (Memory::find_in(all.pinned, data) != all.pinned.end()) {
    if (attribute == kPointerMemoryType) *static_cast<unsigned*>(value) = kHostMemory;
    if (attribute == kPointerDeviceAddress) *static_cast<CUdeviceptr*>(value) = data;
    return 0;
  }
  const auto block = all.find(data);
  if (block == all.blocks.end()) return kUnknownPointer;
  if (attribute == kPointerMemoryType) *static_cast<unsigned*>(value) = kDeviceMemory;
  if (attribute == kPointerDeviceOrdinal) {
    *static_cast<int*>(value) = static_cast<int>(setting("ordinal", 0));
  }
  const bool is_range = attribute == kPointerRangeStart || attribute == kPointerRangeSize;
  if (is_range && setting("ranges", 1) == 0) return kInvalid;
  if (attribute == kPointerRangeStart) *static_cast<CUdeviceptr*>(value) = block->first;
  if (attribute == kPointerRangeSize) *static_cast<size_t*>(value) = block->second;
  return 0;
}

std::atomic<bool> is_capturing = false;
thread_local int capture_mode = 0;  // Of all streams.

bool refuses_memory() {
  return (is_capturing || setting("capturing", 0) != 0) && capture_mode != kCaptureRelaxed;
}

template <typename Handle>
CUresult make(Handle* handle) {
  static char something;
  *handle = reinterpret_cast<Handle>(&something);
  return 0;
}

// One that differs from all others.
template <typename Handle>
CUresult make_new(Handle* handle) {
  static std::atomic<uintptr_t> last = 0;
  *handle = reinterpret_cast<Handle>(++last);
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

// Which streams wait for which, by events.
struct Orders {
  std::map<CUevent, CUstream> recorded;
  std::map<std::pair<CUstream, CUstream>, long> counts;
};
Orders& orders() {
  static auto& made = *new Orders;
  return made;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {
// How often `stream` was made to wait for `other`.
long fakeCudaOrders(void* stream, void* other) {
  const std::lock_guard lock(memory().mutex);
  return orders().counts[{static_cast<CUstream>(other), static_cast<CUstream>(stream)}];
}
// How often it was asked for "memory", "copy", "batch", "clear", "launch", "graph", "order" and
// "wait".
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
  if (refuses_memory()) return kInvalid;
  return allocate(data, bytes);
}
CUresult cuMemFree_v2(CUdeviceptr data) { return refuses_memory() ? kInvalid : release(data); }
CUresult cuMemHostAlloc(void** data, size_t bytes, unsigned) {
  count("memory");
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  if (give(data, std::malloc(bytes)) != 0) return kOutOfMemory;
  all.pinned[reinterpret_cast<CUdeviceptr>(*data)] = bytes;
  return 0;
}
CUresult cuMemFreeHost(void* data) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  all.pinned.erase(reinterpret_cast<CUdeviceptr>(data));
  std::free(data);
  return 0;
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
  count("copy");
  if (setting("refuse", 0) != 0) return kInvalid;
  {
    const std::lock_guard lock(memory().mutex);
    if (!memory().is_one_piece(to, bytes) || !memory().is_one_piece(from, bytes)) return kInvalid;
  }
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  return 0;
}
#ifndef REGRAFT_WITHOUT_CUDA_13
CUresult cuMemcpyBatchAsync_v2(CUdeviceptr* to, CUdeviceptr* from, size_t* bytes, size_t count,
                               CopyAttributes*, size_t*, size_t, CUstream stream) {
  ::count("batch");
  for (size_t i = 0; i < count; ++i) {
    if (const CUresult result = cuMemcpyAsync(to[i], from[i], bytes[i], stream); result != 0)
      return result;
  }
  return 0;
}
#endif
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
  count("clear");
  std::memset(reinterpret_cast<void*>(to), value, bytes);
  return 0;
}
CUresult cuPointerGetAttribute(void* value, int attribute, CUdeviceptr data) {
  count("question");
  return attribute_of(value, attribute, data);
}
// What it cannot tell is 0, which is no error.
CUresult cuPointerGetAttributes(unsigned count, int* attributes, void** values, CUdeviceptr data) {
  ::count("question");
  for (unsigned i = 0; i < count; ++i) {
    const int attribute = attributes[i];
    const bool is_wide = attribute == kPointerRangeStart || attribute == kPointerRangeSize;
    std::memset(values[i], 0, is_wide ? sizeof(CUdeviceptr) : sizeof(int));
    attribute_of(values[i], attribute, data);
  }
  return 0;
}
CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned, int) { return make_new(stream); }
CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  *least = *greatest = 0;
  return 0;
}
CUresult cuStreamDestroy_v2(CUstream) { return 0; }
CUresult cuStreamSynchronize(CUstream) {
  count("wait");
  return 0;
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
  count("order");
  const std::lock_guard lock(memory().mutex);
  ++orders().counts[{orders().recorded[event], stream}];
  return 0;
}
// One at a time.
CUresult cuStreamBeginCapture_v2(CUstream, int) {
  return is_capturing.exchange(true) ? kInvalid : 0;
}
CUresult cuStreamEndCapture(CUstream, CUgraph* graph) {
  return is_capturing.exchange(false) ? make(graph) : kInvalid;
}
CUresult cuStreamIsCapturing(CUstream, int* status) {
  return give(status, static_cast<int>(setting("capturing", 0)));
}
CUresult cuThreadExchangeStreamCaptureMode(int* mode) {
  std::swap(*mode, capture_mode);
  return 0;
}
CUresult cuEventCreate(CUevent* event, unsigned) { return make_new(event); }
CUresult cuEventDestroy_v2(CUevent) { return 0; }
CUresult cuEventRecord(CUevent event, CUstream stream) {
  const std::lock_guard lock(memory().mutex);
  orders().recorded[event] = stream;
  return 0;
}
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
CUresult cuLaunchKernelEx(const LaunchConfig*, CUfunction, void**, void**) {
  count("launch");
  return 0;
}
}
#pragma GCC visibility pop
