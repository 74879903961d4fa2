#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cuda/run/api/driver.h"

// The part of cuBLASLt (libcublasLt.so.13) that the backend calls.
namespace regraft::cuda {

using cublasLtHandle = struct cublasLtContext*;
using cublasLtMatmulDesc = void*;
using cublasLtMatrixLayout = void*;
using cublasLtMatmulPreference = void*;

// Names as NVIDIA's. NOLINTBEGIN(readability-identifier-naming)
struct cublasLtMatmulAlgo {
  uint64_t data[8];
};
struct cublasLtMatmulHeuristicResult {
  cublasLtMatmulAlgo algo;
  size_t workspaceSize;
  int state;
  float wavesCount;
  int reserved[4];
};
// NOLINTEND(readability-identifier-naming)

// cudaDataType.
inline constexpr int kCudaF32 = 0, kCudaF64 = 1, kCudaF16 = 2, kCudaBF16 = 14;
// cublasComputeType_t.
inline constexpr int kCompute32F = 68, kCompute64F = 70, kCompute32FFastTF32 = 77;
// cublasLtMatmulDescAttributes_t.
inline constexpr int kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8;
// cublasLtMatrixLayoutAttribute_t.
inline constexpr int kLayoutBatchCount = 5, kLayoutBatchStride = 6;
// cublasLtMatmulPreferenceAttributes_t.
inline constexpr int kPreferWorkspaceBytes = 1, kPreferReductions = 3, kPreferAlignmentA = 5,
                     kPreferAlignmentB = 6, kPreferAlignmentC = 7, kPreferAlignmentD = 8;
// cublasLtReductionScheme_t: none, or in the type of the sum.
inline constexpr uint32_t kWideReductions = 2;
// cublasLtEpilogue_t.
inline constexpr int kEpilogueDefault = 1, kEpilogueRelu = 2, kEpilogueBias = 4, kEpilogueGelu = 32;
inline constexpr int kNoTranspose = 0, kTranspose = 1;

#define REGRAFT_CUDA_CUBLASLT(X)                                                                 \
  X(cublasLtCreate, "cublasLtCreate", (cublasLtHandle * handle))                                 \
  X(cublasLtGetVersion, "cublasLtGetVersion", ())                                                \
  X(cublasLtMatmulDescCreate, "cublasLtMatmulDescCreate",                                        \
    (cublasLtMatmulDesc * desc, int compute_type, int scale_type))                               \
  X(cublasLtMatmulDescDestroy, "cublasLtMatmulDescDestroy", (cublasLtMatmulDesc desc))           \
  X(cublasLtMatmulDescSetAttribute, "cublasLtMatmulDescSetAttribute",                            \
    (cublasLtMatmulDesc desc, int attribute, const void* value, size_t bytes))                   \
  X(cublasLtMatrixLayoutCreate, "cublasLtMatrixLayoutCreate",                                    \
    (cublasLtMatrixLayout * layout, int type, uint64_t rows, uint64_t columns, int64_t ld))      \
  X(cublasLtMatrixLayoutDestroy, "cublasLtMatrixLayoutDestroy", (cublasLtMatrixLayout layout))   \
  X(cublasLtMatrixLayoutSetAttribute, "cublasLtMatrixLayoutSetAttribute",                        \
    (cublasLtMatrixLayout layout, int attribute, const void* value, size_t bytes))               \
  X(cublasLtMatmulPreferenceCreate, "cublasLtMatmulPreferenceCreate",                            \
    (cublasLtMatmulPreference * preference))                                                     \
  X(cublasLtMatmulPreferenceDestroy, "cublasLtMatmulPreferenceDestroy",                          \
    (cublasLtMatmulPreference preference))                                                       \
  X(cublasLtMatmulPreferenceSetAttribute, "cublasLtMatmulPreferenceSetAttribute",                \
    (cublasLtMatmulPreference preference, int attribute, const void* value, size_t bytes))       \
  X(cublasLtMatmulAlgoGetHeuristic, "cublasLtMatmulAlgoGetHeuristic",                            \
    (cublasLtHandle handle, cublasLtMatmulDesc desc, cublasLtMatrixLayout a,                     \
     cublasLtMatrixLayout b, cublasLtMatrixLayout c, cublasLtMatrixLayout d,                     \
     cublasLtMatmulPreference preference, int wanted, cublasLtMatmulHeuristicResult* results,    \
     int* found))                                                                                \
  X(cublasLtMatmulAlgoConfigGetAttribute, "cublasLtMatmulAlgoConfigGetAttribute",                \
    (const cublasLtMatmulAlgo* algo, int attribute, void* value, size_t bytes, size_t* written)) \
  X(cublasLtMatmul, "cublasLtMatmul",                                                            \
    (cublasLtHandle handle, cublasLtMatmulDesc desc, const void* alpha, const void* a,           \
     cublasLtMatrixLayout a_layout, const void* b, cublasLtMatrixLayout b_layout,                \
     const void* beta, const void* c, cublasLtMatrixLayout c_layout, void* d,                    \
     cublasLtMatrixLayout d_layout, const cublasLtMatmulAlgo* algo, void* workspace,             \
     size_t workspace_bytes, CUstream stream))

struct CublasLt {
// A parameter list, which already has its parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses)
#define REGRAFT_CUDA_FUNCTION(name, symbol, parameters) int(*name) parameters = nullptr;
  REGRAFT_CUDA_CUBLASLT(REGRAFT_CUDA_FUNCTION)
#undef REGRAFT_CUDA_FUNCTION
};

// Throws Error{"cuda", Unsupported} when the library cannot be found.
const CublasLt& cublaslt();

}  // namespace regraft::cuda
