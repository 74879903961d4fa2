#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cuda/run/api/driver.h"

// The part of CUPTI (libcupti.so.13) that profiles call.
namespace regraft::cuda {

// What a record begins with; CUPTI packs them one after the other, and newer versions append.
struct CuptiRecord {
  uint32_t kind;
};
// CUpti_ActivityExternalCorrelation.
struct CuptiCorrelation {
  uint32_t kind, external_kind;
  uint64_t external_id;
  uint32_t correlation_id, reserved;
};
// Times and the correlation id in records of kernels and of copies, in bytes from their start.
inline constexpr size_t kCuptiStart = 16, kCuptiEnd = 24, kCuptiKernelCorrelation = 92,
                        kCuptiCopyCorrelation = 44;
inline constexpr uint32_t kCuptiDriver = 4, kCuptiRuntime = 5, kCuptiMemcpy = 1,
                          kCuptiMemset = 2,  // CUPTI_ACTIVITY_KIND_*
    kCuptiKernel = 10, kCuptiExternalCorrelation = 39;
inline constexpr uint32_t kCuptiCustom = 3;  // CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0
inline constexpr uint32_t kCuptiForced = 1;  // CUPTI_ACTIVITY_FLAG_FLUSH_FORCED

using CuptiRequest = void (*)(uint8_t** buffer, size_t* bytes, size_t* most_records);
using CuptiComplete = void (*)(CUcontext context, uint32_t stream, uint8_t* buffer, size_t bytes,
                               size_t valid_bytes);

#define REGRAFT_CUDA_CUPTI(X)                                                         \
  X(cuptiActivityRegisterCallbacks, "cuptiActivityRegisterCallbacks",                 \
    (CuptiRequest request, CuptiComplete complete))                                   \
  X(cuptiActivityEnable, "cuptiActivityEnable", (uint32_t kind))                      \
  X(cuptiActivityDisable, "cuptiActivityDisable", (uint32_t kind))                    \
  X(cuptiActivityFlushAll, "cuptiActivityFlushAll", (uint32_t flag))                  \
  X(cuptiActivityGetNextRecord, "cuptiActivityGetNextRecord",                         \
    (uint8_t* buffer, size_t valid_bytes, CuptiRecord** record))                      \
  X(cuptiActivityPushExternalCorrelationId, "cuptiActivityPushExternalCorrelationId", \
    (uint32_t kind, uint64_t id))                                                     \
  X(cuptiActivityPopExternalCorrelationId, "cuptiActivityPopExternalCorrelationId",   \
    (uint32_t kind, uint64_t* last))

struct Cupti {
// A parameter list, which already has its parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses)
#define REGRAFT_CUDA_FUNCTION(name, symbol, parameters) int(*name) parameters = nullptr;
  REGRAFT_CUDA_CUPTI(REGRAFT_CUDA_FUNCTION)
#undef REGRAFT_CUDA_FUNCTION
};

// Throws Error{"cuda", Unsupported} when the library cannot be found.
const Cupti& cupti();

}  // namespace regraft::cuda
