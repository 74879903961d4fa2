#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cuda/run/api/driver.h"

// The part of cuDNN's backend graph API (libcudnn.so.9) that the backend calls.
namespace regraft::cuda {

using cudnnHandle = struct cudnnContext*;
using cudnnDescriptor = void*;

// cudnnDataType_t.
inline constexpr int kCudnnF32 = 0, kCudnnF64 = 1, kCudnnF16 = 2, kCudnnBF16 = 9;
inline constexpr int kCrossCorrelation = 1;
// cudnnPointwiseMode_t.
inline constexpr int kPointwiseAdd = 0, kPointwiseReluForward = 100;
// cudnnBackendHeurMode_t.
inline constexpr int kHeuristicFallback = 2, kHeuristicA = 3;

enum class CudnnKind : int {  // cudnnBackendDescriptorType_t
  Pointwise = 0,
  Convolution = 1,
  Engine = 2,
  EngineConfig = 3,
  EngineHeuristic = 4,
  ExecutionPlan = 5,
  ConvolutionForward = 10,
  ConvolutionBackwardData = 12,
  PointwiseOperation = 13,
  OperationGraph = 15,
  VariantPack = 16,
  Tensor = 17,
};

enum class CudnnType : int {  // cudnnBackendAttributeType_t
  Handle = 0,
  DataType = 1,
  Boolean = 2,
  Int64 = 3,
  Float = 4,
  Double = 5,
  Pointer = 6,
  ConvolutionMode = 7,
  HeuristicMode = 8,
  NumericalNote = 11,
  PointwiseMode = 14,
  Descriptor = 15,
  BehaviorNote = 19,
};

enum class CudnnAttribute : int {  // cudnnBackendAttributeName_t
  PointwiseMode = 0,
  PointwisePrecision = 1,
  ConvolutionComputeType = 100,
  ConvolutionMode = 101,
  ConvolutionDilations = 102,
  ConvolutionStrides = 103,
  ConvolutionPostPaddings = 104,
  ConvolutionPrePaddings = 105,
  ConvolutionSpatialDims = 106,
  HeuristicMode = 200,
  HeuristicGraph = 201,
  HeuristicResults = 202,
  ConfigEngine = 300,
  PlanHandle = 400,
  PlanConfig = 401,
  PlanWorkspaceBytes = 402,
  ForwardAlpha = 700,
  ForwardBeta = 701,
  ForwardConvolution = 702,
  ForwardW = 703,
  ForwardX = 704,
  ForwardY = 705,
  BackwardDataAlpha = 706,
  BackwardDataBeta = 707,
  BackwardDataConvolution = 708,
  BackwardDataW = 709,
  BackwardDataDx = 710,
  BackwardDataDy = 711,
  OperationPointwise = 750,
  OperationPointwiseX = 751,
  OperationPointwiseB = 752,
  OperationPointwiseY = 753,
  GraphHandle = 800,
  GraphOperations = 801,
  TensorAlignment = 900,
  TensorDataType = 901,
  TensorDimensions = 902,
  TensorStrides = 903,
  TensorId = 906,
  TensorIsVirtual = 907,
  PackIds = 1000,
  PackPointers = 1001,
  PackWorkspace = 1003,
  EngineGlobalIndex = 1301,
  EngineNumericalNote = 1303,
};

// cudnnBackendNumericalNote_t.
inline constexpr int kNoteTensorCore = 0, kNoteDownConvert = 1, kNoteReducedReduction = 2,
                     kNoteFft = 3, kNoteNondeterministic = 4, kNoteWinograd = 5;

#define REGRAFT_CUDA_CUDNN(X)                                                                     \
  X(cudnnCreate, "cudnnCreate", (cudnnHandle * handle))                                           \
  X(cudnnGetVersion, "cudnnGetVersion", ())                                                       \
  X(cudnnSetStream, "cudnnSetStream", (cudnnHandle handle, CUstream stream))                      \
  X(cudnnBackendCreateDescriptor, "cudnnBackendCreateDescriptor",                                 \
    (CudnnKind kind, cudnnDescriptor * descriptor))                                               \
  X(cudnnBackendDestroyDescriptor, "cudnnBackendDestroyDescriptor", (cudnnDescriptor descriptor)) \
  X(cudnnBackendFinalize, "cudnnBackendFinalize", (cudnnDescriptor descriptor))                   \
  X(cudnnBackendSetAttribute, "cudnnBackendSetAttribute",                                         \
    (cudnnDescriptor descriptor, CudnnAttribute name, CudnnType type, int64_t count,              \
     const void* values))                                                                         \
  X(cudnnBackendGetAttribute, "cudnnBackendGetAttribute",                                         \
    (cudnnDescriptor descriptor, CudnnAttribute name, CudnnType type, int64_t wanted,             \
     int64_t* count, void* values))                                                               \
  X(cudnnBackendExecute, "cudnnBackendExecute",                                                   \
    (cudnnHandle handle, cudnnDescriptor plan, cudnnDescriptor pack))

struct Cudnn {
// A parameter list, which already has its parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses)
#define REGRAFT_CUDA_FUNCTION(name, symbol, parameters) int(*name) parameters = nullptr;
  REGRAFT_CUDA_CUDNN(REGRAFT_CUDA_FUNCTION)
#undef REGRAFT_CUDA_FUNCTION
};

// Throws Error{"cuda", Unsupported} when the library cannot be found.
const Cudnn& cudnn();

}  // namespace regraft::cuda
