// The numbers that the backend passes to NVIDIA's libraries are those of NVIDIA's headers.
#include <cstddef>

#include <gtest/gtest.h>

#include "backends/cuda/run/api/cublaslt.h"
#include "backends/cuda/run/api/cudnn.h"
#include "backends/cuda/run/api/cupti.h"
#include "backends/cuda/run/api/driver.h"

// After ours: the headers rename functions by macros.
#include <cublasLt.h>
#include <cuda.h>
#include <cudnn_graph.h>
#include <cupti.h>

namespace regraft::cuda {
namespace {

template <typename Ours, typename Theirs>
void expect_equal(std::initializer_list<std::pair<Ours, Theirs>> pairs) {
  for (const auto& [ours, theirs] : pairs)
    EXPECT_EQ(static_cast<int>(ours), static_cast<int>(theirs));
}

TEST(Api, Driver) {
  expect_equal<int, int>(
      {{kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY},
       {kComputeCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
       {kComputeCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
       {kMultiprocessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
       {kMaxDynamicSharedBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES},
       {kPointerMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE},
       {kPointerDeviceOrdinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL},
       {kDeviceMemory, CU_MEMORYTYPE_DEVICE},
       {kHostMemory, CU_MEMORYTYPE_HOST},
       {kHostAllocPortable, CU_MEMHOSTALLOC_PORTABLE},
       {kStreamNonBlocking, CU_STREAM_NON_BLOCKING},
       {kEventDisableTiming, CU_EVENT_DISABLE_TIMING},
       {kEventRecordExternal, CU_EVENT_RECORD_EXTERNAL},
       {kCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL},
       {kCaptureRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED},
       {kCaptureActive, CU_STREAM_CAPTURE_STATUS_ACTIVE},
       {kCopyInStreamOrder, CU_MEMCPY_SRC_ACCESS_ORDER_STREAM},
       {kPointerDeviceAddress, CU_POINTER_ATTRIBUTE_DEVICE_POINTER},
       {kPointerRangeStart, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR},
       {kLaunchEarly, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION},
       {static_cast<int>(kGraphUsesNodePriority), CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY}});
}

TEST(Api, LaunchesLieAsTheDriverReadsThem) {
  EXPECT_EQ(sizeof(LaunchAttribute), sizeof(CUlaunchAttribute));
  EXPECT_EQ(offsetof(LaunchAttribute, value), offsetof(CUlaunchAttribute, value));
  EXPECT_EQ(sizeof(LaunchConfig), sizeof(CUlaunchConfig));
  EXPECT_EQ(offsetof(LaunchConfig, block), offsetof(CUlaunchConfig, blockDimX));
  EXPECT_EQ(offsetof(LaunchConfig, shared_bytes), offsetof(CUlaunchConfig, sharedMemBytes));
  EXPECT_EQ(offsetof(LaunchConfig, stream), offsetof(CUlaunchConfig, hStream));
  EXPECT_EQ(offsetof(LaunchConfig, attributes), offsetof(CUlaunchConfig, attrs));
  EXPECT_EQ(offsetof(LaunchConfig, attribute_count), offsetof(CUlaunchConfig, numAttrs));
}

TEST(Api, AttributesOfCopiesLieAsTheDriverReadsThem) {
  EXPECT_EQ(sizeof(CopyAttributes), sizeof(CUmemcpyAttributes));
  EXPECT_EQ(offsetof(CopyAttributes, source_order), offsetof(CUmemcpyAttributes, srcAccessOrder));
  EXPECT_EQ(offsetof(CopyAttributes, flags), offsetof(CUmemcpyAttributes, flags));
}

TEST(Api, CublasLt) {
  expect_equal<int, int>(
      {{kCudaF32, CUDA_R_32F},
       {kCudaF64, CUDA_R_64F},
       {kCudaF16, CUDA_R_16F},
       {kCudaBF16, CUDA_R_16BF},
       {kCompute32F, CUBLAS_COMPUTE_32F},
       {kCompute64F, CUBLAS_COMPUTE_64F},
       {kCompute32FFastTF32, CUBLAS_COMPUTE_32F_FAST_TF32},
       {kDescTransA, CUBLASLT_MATMUL_DESC_TRANSA},
       {kDescTransB, CUBLASLT_MATMUL_DESC_TRANSB},
       {kDescEpilogue, CUBLASLT_MATMUL_DESC_EPILOGUE},
       {kDescBiasPointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER},
       {kLayoutBatchCount, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT},
       {kLayoutBatchStride, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET},
       {kPreferWorkspaceBytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES},
       {kPreferReductions, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK},
       {static_cast<int>(kWideReductions), CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE},
       {kPreferAlignmentA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES},
       {kPreferAlignmentB, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES},
       {kPreferAlignmentC, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES},
       {kPreferAlignmentD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES},
       {kEpilogueDefault, CUBLASLT_EPILOGUE_DEFAULT},
       {kEpilogueRelu, CUBLASLT_EPILOGUE_RELU},
       {kEpilogueBias, CUBLASLT_EPILOGUE_BIAS},
       {kEpilogueGelu, CUBLASLT_EPILOGUE_GELU},
       {kNoTranspose, CUBLAS_OP_N},
       {kTranspose, CUBLAS_OP_T}});
  EXPECT_EQ(sizeof(cublasLtMatmulAlgo), sizeof(cublasLtMatmulAlgo_t));
  EXPECT_EQ(sizeof(cublasLtMatmulHeuristicResult), sizeof(cublasLtMatmulHeuristicResult_t));
  EXPECT_EQ(offsetof(cublasLtMatmulHeuristicResult, workspaceSize),
            offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
}

template <typename Record>
void expect_times(size_t correlation) {
  EXPECT_EQ(kCuptiStart, offsetof(Record, start));
  EXPECT_EQ(kCuptiEnd, offsetof(Record, end));
  EXPECT_EQ(correlation, offsetof(Record, correlationId));
}

TEST(Api, Cupti) {
  expect_equal<int, int>({{kCuptiMemcpy, CUPTI_ACTIVITY_KIND_MEMCPY},
                          {kCuptiMemset, CUPTI_ACTIVITY_KIND_MEMSET},
                          {kCuptiDriver, CUPTI_ACTIVITY_KIND_DRIVER},
                          {kCuptiRuntime, CUPTI_ACTIVITY_KIND_RUNTIME},
                          {kCuptiKernel, CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL},
                          {kCuptiExternalCorrelation, CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION},
                          {kCuptiCustom, CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0},
                          {kCuptiForced, CUPTI_ACTIVITY_FLAG_FLUSH_FORCED}});
  expect_times<CUpti_ActivityKernel9>(kCuptiKernelCorrelation);
  expect_times<CUpti_ActivityKernel10>(kCuptiKernelCorrelation);
  expect_times<CUpti_ActivityMemcpy6>(kCuptiCopyCorrelation);
  expect_times<CUpti_ActivityMemset4>(kCuptiCopyCorrelation);
  EXPECT_EQ(sizeof(CuptiCorrelation), sizeof(CUpti_ActivityExternalCorrelation));
  EXPECT_EQ(offsetof(CuptiCorrelation, external_id),
            offsetof(CUpti_ActivityExternalCorrelation, externalId));
  EXPECT_EQ(offsetof(CuptiCorrelation, correlation_id),
            offsetof(CUpti_ActivityExternalCorrelation, correlationId));
}

TEST(Api, CudnnKindsAndTypes) {
  expect_equal<CudnnKind, int>(
      {{CudnnKind::Pointwise, CUDNN_BACKEND_POINTWISE_DESCRIPTOR},
       {CudnnKind::Convolution, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR},
       {CudnnKind::Engine, CUDNN_BACKEND_ENGINE_DESCRIPTOR},
       {CudnnKind::EngineConfig, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR},
       {CudnnKind::EngineHeuristic, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR},
       {CudnnKind::ExecutionPlan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR},
       {CudnnKind::ConvolutionForward, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR},
       {CudnnKind::ConvolutionBackwardData,
        CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR},
       {CudnnKind::PointwiseOperation, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR},
       {CudnnKind::OperationGraph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR},
       {CudnnKind::VariantPack, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR},
       {CudnnKind::Tensor, CUDNN_BACKEND_TENSOR_DESCRIPTOR}});
  expect_equal<CudnnType, int>({{CudnnType::Handle, CUDNN_TYPE_HANDLE},
                                {CudnnType::DataType, CUDNN_TYPE_DATA_TYPE},
                                {CudnnType::Boolean, CUDNN_TYPE_BOOLEAN},
                                {CudnnType::Int64, CUDNN_TYPE_INT64},
                                {CudnnType::Float, CUDNN_TYPE_FLOAT},
                                {CudnnType::Double, CUDNN_TYPE_DOUBLE},
                                {CudnnType::Pointer, CUDNN_TYPE_VOID_PTR},
                                {CudnnType::ConvolutionMode, CUDNN_TYPE_CONVOLUTION_MODE},
                                {CudnnType::HeuristicMode, CUDNN_TYPE_HEUR_MODE},
                                {CudnnType::NumericalNote, CUDNN_TYPE_NUMERICAL_NOTE},
                                {CudnnType::PointwiseMode, CUDNN_TYPE_POINTWISE_MODE},
                                {CudnnType::Descriptor, CUDNN_TYPE_BACKEND_DESCRIPTOR},
                                {CudnnType::BehaviorNote, CUDNN_TYPE_BEHAVIOR_NOTE}});
}

TEST(Api, CudnnAttributes) {
  using A = CudnnAttribute;
  expect_equal<A, int>(
      {{A::PointwiseMode, CUDNN_ATTR_POINTWISE_MODE},
       {A::PointwisePrecision, CUDNN_ATTR_POINTWISE_MATH_PREC},
       {A::ConvolutionComputeType, CUDNN_ATTR_CONVOLUTION_COMP_TYPE},
       {A::ConvolutionMode, CUDNN_ATTR_CONVOLUTION_CONV_MODE},
       {A::ConvolutionDilations, CUDNN_ATTR_CONVOLUTION_DILATIONS},
       {A::ConvolutionStrides, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES},
       {A::ConvolutionPostPaddings, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS},
       {A::ConvolutionPrePaddings, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS},
       {A::ConvolutionSpatialDims, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS},
       {A::HeuristicMode, CUDNN_ATTR_ENGINEHEUR_MODE},
       {A::HeuristicGraph, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH},
       {A::HeuristicResults, CUDNN_ATTR_ENGINEHEUR_RESULTS},
       {A::ConfigEngine, CUDNN_ATTR_ENGINECFG_ENGINE},
       {A::PlanHandle, CUDNN_ATTR_EXECUTION_PLAN_HANDLE},
       {A::PlanConfig, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG},
       {A::PlanWorkspaceBytes, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE},
       {A::ForwardAlpha, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA},
       {A::ForwardBeta, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
       {A::ForwardConvolution, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC},
       {A::ForwardW, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W},
       {A::ForwardX, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X},
       {A::ForwardY, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
       {A::BackwardDataAlpha, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA},
       {A::BackwardDataBeta, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
       {A::BackwardDataConvolution, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC},
       {A::BackwardDataW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W},
       {A::BackwardDataDx, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX},
       {A::BackwardDataDy, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
       {A::OperationPointwise, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR},
       {A::OperationPointwiseX, CUDNN_ATTR_OPERATION_POINTWISE_XDESC},
       {A::OperationPointwiseB, CUDNN_ATTR_OPERATION_POINTWISE_BDESC},
       {A::OperationPointwiseY, CUDNN_ATTR_OPERATION_POINTWISE_YDESC},
       {A::GraphHandle, CUDNN_ATTR_OPERATIONGRAPH_HANDLE},
       {A::GraphOperations, CUDNN_ATTR_OPERATIONGRAPH_OPS},
       {A::TensorAlignment, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT},
       {A::TensorDataType, CUDNN_ATTR_TENSOR_DATA_TYPE},
       {A::TensorDimensions, CUDNN_ATTR_TENSOR_DIMENSIONS},
       {A::TensorStrides, CUDNN_ATTR_TENSOR_STRIDES},
       {A::TensorId, CUDNN_ATTR_TENSOR_UNIQUE_ID},
       {A::TensorIsVirtual, CUDNN_ATTR_TENSOR_IS_VIRTUAL},
       {A::PackIds, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS},
       {A::PackPointers, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS},
       {A::PackWorkspace, CUDNN_ATTR_VARIANT_PACK_WORKSPACE},
       {A::EngineGlobalIndex, CUDNN_ATTR_ENGINE_GLOBAL_INDEX},
       {A::EngineNumericalNote, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE}});
}

TEST(Api, CudnnNumbers) {
  expect_equal<int, int>({{kCudnnF32, CUDNN_DATA_FLOAT},
                          {kCudnnF64, CUDNN_DATA_DOUBLE},
                          {kCudnnF16, CUDNN_DATA_HALF},
                          {kCudnnBF16, CUDNN_DATA_BFLOAT16},
                          {kCrossCorrelation, CUDNN_CROSS_CORRELATION},
                          {kPointwiseAdd, CUDNN_POINTWISE_ADD},
                          {kPointwiseReluForward, CUDNN_POINTWISE_RELU_FWD},
                          {kHeuristicFallback, CUDNN_HEUR_MODE_FALLBACK},
                          {kHeuristicA, CUDNN_HEUR_MODE_A},
                          {kNoteTensorCore, CUDNN_NUMERICAL_NOTE_TENSOR_CORE},
                          {kNoteDownConvert, CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS},
                          {kNoteReducedReduction, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION},
                          {kNoteFft, CUDNN_NUMERICAL_NOTE_FFT},
                          {kNoteNondeterministic, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC},
                          {kNoteWinograd, CUDNN_NUMERICAL_NOTE_WINOGRAD}});
}

}  // namespace
}  // namespace regraft::cuda
