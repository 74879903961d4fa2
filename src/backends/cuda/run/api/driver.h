#pragma once

#include <cstddef>
#include <cstdint>

// The part of the CUDA driver API (libcuda.so.1) that the backend calls, declared here so that
// building needs no CUDA toolkit. Names and values are NVIDIA's; tests/backends/cuda compares them
// with the real header.
namespace regraft::cuda {

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;

inline constexpr CUresult kOutOfMemory = 2;         // CUDA_ERROR_OUT_OF_MEMORY
inline constexpr int kComputeCapabilityMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
inline constexpr int kComputeCapabilityMinor = 76;
inline constexpr int kMultiprocessorCount = 16;      // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
inline constexpr int kMaxDynamicSharedBytes = 8;     // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_...
inline constexpr int kPointerMemoryType = 2;         // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
inline constexpr int kPointerDeviceAddress = 3;      // CU_POINTER_ATTRIBUTE_DEVICE_POINTER
inline constexpr int kPointerDeviceOrdinal = 9;      // CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
inline constexpr int kPointerRangeStart = 11;        // CU_POINTER_ATTRIBUTE_RANGE_START_ADDR
inline constexpr int kPointerRangeSize = 12;         // CU_POINTER_ATTRIBUTE_RANGE_SIZE
inline constexpr unsigned kHostMemory = 1;           // CU_MEMORYTYPE_HOST
inline constexpr unsigned kDeviceMemory = 2;         // CU_MEMORYTYPE_DEVICE
inline constexpr unsigned kHostAllocPortable = 1;    // CU_MEMHOSTALLOC_PORTABLE
inline constexpr unsigned kStreamNonBlocking = 1;    // CU_STREAM_NON_BLOCKING
inline constexpr unsigned kEventDisableTiming = 2;   // CU_EVENT_DISABLE_TIMING
inline constexpr unsigned kEventRecordExternal = 1;  // CU_EVENT_RECORD_EXTERNAL
inline constexpr int kCaptureThreadLocal = 1;        // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
inline constexpr int kCaptureRelaxed = 2;            // CU_STREAM_CAPTURE_MODE_RELAXED
inline constexpr int kCopyInStreamOrder = 1;         // CU_MEMCPY_SRC_ACCESS_ORDER_STREAM
// CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY
inline constexpr unsigned long long kGraphUsesNodePriority = 8;
inline constexpr int kCaptureActive = 1;  // CU_STREAM_CAPTURE_STATUS_ACTIVE

// CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
inline constexpr int kLaunchEarly = 6;

// CUlaunchAttribute; the value is that of attributes which are true or false.
struct LaunchAttribute {
  int id = 0, padding = 0;
  alignas(8) int value[16] = {};
};
// CUlaunchConfig.
struct LaunchConfig {
  unsigned grid[3] = {1, 1, 1}, block[3] = {1, 1, 1}, shared_bytes = 0;
  CUstream stream = nullptr;
  LaunchAttribute* attributes = nullptr;
  unsigned attribute_count = 0;
};

// CUmemcpyAttributes.
struct CopyAttributes {
  int source_order = 0;
  int source_hint[2] = {}, target_hint[2] = {};
  unsigned flags = 0;
};

// name, exported symbol, parameters.
#define REGRAFT_CUDA_DRIVER(X)                                                                    \
  X(cuInit, "cuInit", (unsigned flags))                                                           \
  X(cuDriverGetVersion, "cuDriverGetVersion", (int* version))                                     \
  X(cuGetErrorName, "cuGetErrorName", (CUresult error, const char** text))                        \
  X(cuGetErrorString, "cuGetErrorString", (CUresult error, const char** text))                    \
  X(cuDeviceGetCount, "cuDeviceGetCount", (int* count))                                           \
  X(cuDeviceGet, "cuDeviceGet", (CUdevice * device, int ordinal))                                 \
  X(cuDeviceGetName, "cuDeviceGetName", (char* name, int size, CUdevice device))                  \
  X(cuDeviceGetAttribute, "cuDeviceGetAttribute", (int* value, int attribute, CUdevice device))   \
  X(cuDeviceTotalMem, "cuDeviceTotalMem_v2", (size_t* bytes, CUdevice device))                    \
  X(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", (CUcontext * context, CUdevice device)) \
  X(cuCtxPushCurrent, "cuCtxPushCurrent_v2", (CUcontext context))                                 \
  X(cuCtxPopCurrent, "cuCtxPopCurrent_v2", (CUcontext * context))                                 \
  X(cuCtxSynchronize, "cuCtxSynchronize", ())                                                     \
  X(cuMemGetInfo, "cuMemGetInfo_v2", (size_t* free, size_t* total))                               \
  X(cuMemAlloc, "cuMemAlloc_v2", (CUdeviceptr * data, size_t bytes))                              \
  X(cuMemFree, "cuMemFree_v2", (CUdeviceptr data))                                                \
  X(cuMemHostAlloc, "cuMemHostAlloc", (void** data, size_t bytes, unsigned flags))                \
  X(cuMemFreeHost, "cuMemFreeHost", (void* data))                                                 \
  X(cuMemcpyAsync, "cuMemcpyAsync",                                                               \
    (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))                            \
  X(cuMemcpyBatchAsync, "cuMemcpyBatchAsync_v2",                                                  \
    (CUdeviceptr * to, CUdeviceptr * from, size_t* bytes, size_t count,                           \
     CopyAttributes* attributes, size_t* firsts, size_t attribute_count, CUstream stream))        \
  X(cuMemsetD8Async, "cuMemsetD8Async",                                                           \
    (CUdeviceptr to, unsigned char value, size_t count, CUstream stream))                         \
  X(cuPointerGetAttributes, "cuPointerGetAttributes",                                             \
    (unsigned count, int* attributes, void** values, CUdeviceptr data))                           \
  X(cuPointerGetAttribute, "cuPointerGetAttribute",                                               \
    (void* value, int attribute, CUdeviceptr data))                                               \
  X(cuStreamCreateWithPriority, "cuStreamCreateWithPriority",                                     \
    (CUstream * stream, unsigned flags, int priority))                                            \
  X(cuCtxGetStreamPriorityRange, "cuCtxGetStreamPriorityRange", (int* least, int* greatest))      \
  X(cuStreamDestroy, "cuStreamDestroy_v2", (CUstream stream))                                     \
  X(cuStreamSynchronize, "cuStreamSynchronize", (CUstream stream))                                \
  X(cuStreamWaitEvent, "cuStreamWaitEvent", (CUstream stream, CUevent event, unsigned flags))     \
  X(cuStreamBeginCapture, "cuStreamBeginCapture_v2", (CUstream stream, int mode))                 \
  X(cuStreamEndCapture, "cuStreamEndCapture", (CUstream stream, CUgraph * graph))                 \
  X(cuStreamIsCapturing, "cuStreamIsCapturing", (CUstream stream, int* status))                   \
  X(cuThreadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode", (int* mode))          \
  X(cuEventCreate, "cuEventCreate", (CUevent * event, unsigned flags))                            \
  X(cuEventDestroy, "cuEventDestroy_v2", (CUevent event))                                         \
  X(cuEventRecord, "cuEventRecord", (CUevent event, CUstream stream))                             \
  X(cuEventRecordWithFlags, "cuEventRecordWithFlags",                                             \
    (CUevent event, CUstream stream, unsigned flags))                                             \
  X(cuEventSynchronize, "cuEventSynchronize", (CUevent event))                                    \
  X(cuEventElapsedTime, "cuEventElapsedTime", (float* ms, CUevent begin, CUevent end))            \
  X(cuGraphInstantiate, "cuGraphInstantiateWithFlags",                                            \
    (CUgraphExec * out, CUgraph graph, unsigned long long flags))                                 \
  X(cuGraphLaunch, "cuGraphLaunch", (CUgraphExec graph, CUstream stream))                         \
  X(cuGraphDestroy, "cuGraphDestroy", (CUgraph graph))                                            \
  X(cuGraphExecDestroy, "cuGraphExecDestroy", (CUgraphExec graph))                                \
  X(cuModuleLoadData, "cuModuleLoadData", (CUmodule * module, const void* image))                 \
  X(cuModuleGetFunction, "cuModuleGetFunction",                                                   \
    (CUfunction * function, CUmodule module, const char* name))                                   \
  X(cuFuncSetAttribute, "cuFuncSetAttribute", (CUfunction function, int attribute, int value))    \
  X(cuLaunchKernelEx, "cuLaunchKernelEx",                                                         \
    (const LaunchConfig* config, CUfunction function, void** params, void** extra))               \
  X(cuLaunchKernel, "cuLaunchKernel",                                                             \
    (CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,    \
     unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream, void** params,   \
     void** extra))

struct Driver {
// A parameter list, which already has its parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses)
#define REGRAFT_CUDA_FUNCTION(name, symbol, parameters) CUresult(*name) parameters = nullptr;
  REGRAFT_CUDA_DRIVER(REGRAFT_CUDA_FUNCTION)
#undef REGRAFT_CUDA_FUNCTION
};

// Loads the driver and initialises it. Throws Error{"cuda", Unsupported}: no driver, too old a
// driver, no GPU.
const Driver& driver();
// Throws Error{"cuda", OutOfMemory or Internal}: "<what>: CUDA_ERROR_...".
void check(CUresult result, const char* what);

}  // namespace regraft::cuda
