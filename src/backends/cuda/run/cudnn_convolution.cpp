#include "backends/cuda/run/cudnn_convolution.h"

#include <algorithm>
#include <array>

#include "base/fail.h"

namespace regraft::cuda {
namespace {

enum Id : int64_t { kX = 1, kW, kY, kZ, kBias, kFirstVirtual };

int data_type(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return kCudnnF16;
    case DType::BF16:
      return kCudnnBF16;
    case DType::F64:
      return kCudnnF64;
    default:
      return kCudnnF32;
  }
}

constexpr size_t kMostWorkspace = size_t{256} << 20;

}  // namespace

CudnnDescriptors::~CudnnDescriptors() {
  for (auto d = made_.rbegin(); d != made_.rend(); ++d)
    cudnn().cudnnBackendDestroyDescriptor(*d);
}

cudnnDescriptor CudnnDescriptors::create(CudnnKind kind) {
  cudnnDescriptor descriptor = nullptr;
  if (cudnn().cudnnBackendCreateDescriptor(kind, &descriptor) != 0) return nullptr;
  made_.push_back(descriptor);
  return descriptor;
}

// Builds the graph of a problem and looks for its plans. Failing calls mean: not supported.
class CudnnBuilder {
 public:
  CudnnBuilder(CudaDevice& device, const CudnnProblem& problem)
      : device_(device), problem_(problem), graph_(std::make_shared<CudnnDescriptors>()) {}

  std::vector<std::unique_ptr<CudnnConvolution>> build(size_t most, std::string_view only) {
    const cudnnDescriptor graph = operation_graph();
    if (graph == nullptr) return {};
    for (const int mode : {kHeuristicA, kHeuristicFallback}) {
      if (plans_.size() < most) find_plans(graph, mode, most, only);
    }
    return std::move(plans_);
  }

 private:
  cudnnDescriptor create(CudnnKind kind) { return graph_->create(kind); }

  template <typename T>
  void set(cudnnDescriptor descriptor, CudnnAttribute name, CudnnType type, const T& value) {
    set(descriptor, name, type, 1, &value);
  }
  void set(cudnnDescriptor descriptor, CudnnAttribute name, const Dims& values) {
    set(descriptor, name, CudnnType::Int64, static_cast<int64_t>(values.size()), values.data());
  }
  void set(cudnnDescriptor descriptor, CudnnAttribute name, CudnnType type, int64_t count,
           const void* values) {
    ok_ = ok_ && cudnn().cudnnBackendSetAttribute(descriptor, name, type, count, values) == 0;
  }
  bool finalize(cudnnDescriptor descriptor) {
    ok_ = ok_ && cudnn().cudnnBackendFinalize(descriptor) == 0;
    return ok_;
  }

  cudnnDescriptor tensor(const CudnnTensor& t, int64_t id, int type, bool is_virtual) {
    const cudnnDescriptor d = create(CudnnKind::Tensor);
    set(d, CudnnAttribute::TensorDataType, CudnnType::DataType, type);
    set(d, CudnnAttribute::TensorDimensions, t.dims);
    set(d, CudnnAttribute::TensorStrides, t.strides);
    set(d, CudnnAttribute::TensorId, CudnnType::Int64, id);
    set(d, CudnnAttribute::TensorAlignment, CudnnType::Int64, static_cast<int64_t>(t.alignment));
    if (is_virtual) set(d, CudnnAttribute::TensorIsVirtual, CudnnType::Boolean, true);
    finalize(d);
    return d;
  }
  cudnnDescriptor tensor(const CudnnTensor& t, int64_t id) {
    return tensor(t, id, data_type(t.dtype), false);
  }

  cudnnDescriptor convolution(cudnnDescriptor x, cudnnDescriptor w, cudnnDescriptor y) {
    const cudnnDescriptor c = create(CudnnKind::Convolution);
    const int compute = problem_.x.dtype == DType::F64 ? kCudnnF64 : kCudnnF32;
    set(c, CudnnAttribute::ConvolutionComputeType, CudnnType::DataType, compute);
    set(c, CudnnAttribute::ConvolutionMode, CudnnType::ConvolutionMode, kCrossCorrelation);
    set(c, CudnnAttribute::ConvolutionSpatialDims, CudnnType::Int64,
        static_cast<int64_t>(problem_.stride.size()));
    set(c, CudnnAttribute::ConvolutionStrides, problem_.stride);
    set(c, CudnnAttribute::ConvolutionPrePaddings, problem_.padding);
    set(c, CudnnAttribute::ConvolutionPostPaddings, problem_.padding_end);
    set(c, CudnnAttribute::ConvolutionDilations, problem_.dilation);
    finalize(c);
    using A = CudnnAttribute;
    const bool t = problem_.transposed;
    const cudnnDescriptor op =
        create(t ? CudnnKind::ConvolutionBackwardData : CudnnKind::ConvolutionForward);
    set(op, t ? A::BackwardDataConvolution : A::ForwardConvolution, CudnnType::Descriptor, c);
    set(op, t ? A::BackwardDataDy : A::ForwardX, CudnnType::Descriptor, x);
    set(op, t ? A::BackwardDataW : A::ForwardW, CudnnType::Descriptor, w);
    set(op, t ? A::BackwardDataDx : A::ForwardY, CudnnType::Descriptor, y);
    if (problem_.x.dtype == DType::F64) {
      set(op, t ? A::BackwardDataAlpha : A::ForwardAlpha, CudnnType::Double, 1.0);
      set(op, t ? A::BackwardDataBeta : A::ForwardBeta, CudnnType::Double, 0.0);
    } else {
      set(op, t ? A::BackwardDataAlpha : A::ForwardAlpha, CudnnType::Float, 1.0f);
      set(op, t ? A::BackwardDataBeta : A::ForwardBeta, CudnnType::Float, 0.0f);
    }
    finalize(op);
    return op;
  }

  cudnnDescriptor pointwise(int mode, cudnnDescriptor x, cudnnDescriptor b, cudnnDescriptor y) {
    const cudnnDescriptor p = create(CudnnKind::Pointwise);
    set(p, CudnnAttribute::PointwiseMode, CudnnType::PointwiseMode, mode);
    set(p, CudnnAttribute::PointwisePrecision, CudnnType::DataType, kCudnnF32);
    finalize(p);
    const cudnnDescriptor op = create(CudnnKind::PointwiseOperation);
    set(op, CudnnAttribute::OperationPointwise, CudnnType::Descriptor, p);
    set(op, CudnnAttribute::OperationPointwiseX, CudnnType::Descriptor, x);
    if (b != nullptr) set(op, CudnnAttribute::OperationPointwiseB, CudnnType::Descriptor, b);
    set(op, CudnnAttribute::OperationPointwiseY, CudnnType::Descriptor, y);
    finalize(op);
    return op;
  }

  cudnnDescriptor operation_graph() {
    const cudnnDescriptor x = tensor(problem_.x, kX), w = tensor(problem_.w, kW);
    const cudnnDescriptor y = tensor(problem_.y, kY);
    int left = (problem_.z ? 1 : 0) + (problem_.bias ? 1 : 0) + (problem_.relu ? 1 : 0);
    int64_t next = kFirstVirtual;
    const auto result = [&]() {
      return left == 0 ? y : tensor(problem_.y, next++, kCudnnF32, true);
    };
    std::vector<cudnnDescriptor> ops;
    cudnnDescriptor value = result();
    ops.push_back(convolution(x, w, value));
    const auto then = [&](int mode, cudnnDescriptor operand) {
      --left;
      const cudnnDescriptor to = result();
      ops.push_back(pointwise(mode, value, operand, to));
      value = to;
    };
    // The order that the engines with a fixed epilogue know.
    if (problem_.z) then(kPointwiseAdd, tensor(*problem_.z, kZ));
    if (problem_.bias) then(kPointwiseAdd, tensor(*problem_.bias, kBias));
    if (problem_.relu) then(kPointwiseReluForward, nullptr);
    const cudnnDescriptor graph = create(CudnnKind::OperationGraph);
    set(graph, CudnnAttribute::GraphOperations, CudnnType::Descriptor,
        static_cast<int64_t>(ops.size()), ops.data());
    const cudnnHandle handle = device_.cudnn_handle();
    set(graph, CudnnAttribute::GraphHandle, CudnnType::Handle, handle);
    return finalize(graph) ? graph : nullptr;
  }

  void find_plans(cudnnDescriptor graph, int mode, size_t most, std::string_view only) {
    ok_ = true;
    const cudnnDescriptor heuristic = create(CudnnKind::EngineHeuristic);
    set(heuristic, CudnnAttribute::HeuristicGraph, CudnnType::Descriptor, graph);
    set(heuristic, CudnnAttribute::HeuristicMode, CudnnType::HeuristicMode, mode);
    if (!finalize(heuristic)) return;
    constexpr int64_t kMost = 24;
    std::array<cudnnDescriptor, kMost> configs{};
    for (cudnnDescriptor& config : configs)
      config = create(CudnnKind::EngineConfig);
    int64_t count = 0;
    if (cudnn().cudnnBackendGetAttribute(heuristic, CudnnAttribute::HeuristicResults,
                                         CudnnType::Descriptor, kMost, &count,
                                         configs.data()) != 0) {
      return;
    }
    for (int64_t i = 0; i < std::min(count, kMost) && plans_.size() < most; ++i) {
      const cudnnDescriptor config = configs[static_cast<size_t>(i)];
      if (!is_wanted(config)) continue;
      // Heuristics are the same for the same version and chip: a place among them is a name.
      const std::string id =
          base::cat("cudnn:", mode == kHeuristicA ? "a" : "f", i, ".", engine_index_);
      if (only.empty() || id == only) take(config, id);
    }
  }

  // Deterministic, and as precise as the problem says.
  bool is_wanted(cudnnDescriptor config) {
    cudnnDescriptor engine = create(CudnnKind::Engine);
    int64_t count = 0;
    if (cudnn().cudnnBackendGetAttribute(config, CudnnAttribute::ConfigEngine,
                                         CudnnType::Descriptor, 1, &count, &engine) != 0) {
      return false;
    }
    int notes[16] = {};
    cudnn().cudnnBackendGetAttribute(engine, CudnnAttribute::EngineNumericalNote,
                                     CudnnType::NumericalNote, 16, &count, notes);
    const bool is_wide = problem_.x.dtype == DType::F32 || problem_.x.dtype == DType::F64;
    for (int64_t i = 0; i < std::min<int64_t>(count, 16); ++i) {
      const int note = notes[i];
      if (note == kNoteNondeterministic || note == kNoteDownConvert || note == kNoteFft ||
          note == kNoteWinograd || note == kNoteReducedReduction) {
        return false;
      }
      // On f32 these are TF32.
      if (is_wide && !problem_.tf32 && note == kNoteTensorCore) return false;
    }
    cudnn().cudnnBackendGetAttribute(engine, CudnnAttribute::EngineGlobalIndex, CudnnType::Int64, 1,
                                     &count, &engine_index_);
    return true;
  }

  void take(cudnnDescriptor config, const std::string& id) {
    ok_ = true;
    std::unique_ptr<CudnnConvolution> made(new CudnnConvolution(device_));
    const cudnnDescriptor plan = made->own_.create(CudnnKind::ExecutionPlan);
    const cudnnHandle handle = device_.cudnn_handle();
    set(plan, CudnnAttribute::PlanHandle, CudnnType::Handle, handle);
    set(plan, CudnnAttribute::PlanConfig, CudnnType::Descriptor, config);
    if (!finalize(plan)) return;
    int64_t bytes = 0, count = 0;
    cudnn().cudnnBackendGetAttribute(plan, CudnnAttribute::PlanWorkspaceBytes, CudnnType::Int64, 1,
                                     &count, &bytes);
    if (static_cast<size_t>(bytes) > kMostWorkspace) return;
    made->graph_ = graph_;
    made->plan_ = plan;
    made->workspace_bytes_ = static_cast<size_t>(bytes);
    made->tactic_ = id;
    plans_.push_back(std::move(made));
  }

  CudaDevice& device_;
  const CudnnProblem& problem_;
  std::shared_ptr<CudnnDescriptors> graph_;
  std::vector<std::unique_ptr<CudnnConvolution>> plans_;
  bool ok_ = true;
  int64_t engine_index_ = -1;
};

std::vector<std::unique_ptr<CudnnConvolution>> CudnnConvolution::make(CudaDevice& device,
                                                                      const CudnnProblem& problem,
                                                                      size_t most,
                                                                      std::string_view only) {
  const std::lock_guard lock(device.cudnn_mutex());
  return CudnnBuilder(device, problem).build(most, only);
}

std::string text(const CudnnProblem& problem) {
  std::string out = base::cat("convolution", problem.transposed ? " transposed" : "",
                              problem.relu ? " relu" : "", problem.tf32 ? " tf32" : "");
  const auto add = [&](std::string_view name, const Dims& values) {
    out += base::cat(" ", name);
    for (const int64_t value : values)
      out += base::cat(",", value);
  };
  const auto add_tensor = [&](std::string_view name, const CudnnTensor& t) {
    out += base::cat(" ", name, "=", regraft::name(t.dtype), "@", t.alignment);
    add("dims", t.dims);
    add("strides", t.strides);
  };
  add_tensor("x", problem.x);
  add_tensor("w", problem.w);
  add_tensor("y", problem.y);
  if (problem.z) add_tensor("z", *problem.z);
  if (problem.bias) add_tensor("bias", *problem.bias);
  add("stride", problem.stride);
  add("padding", problem.padding);
  add("padding_end", problem.padding_end);
  add("dilation", problem.dilation);
  return out;
}

void CudnnConvolution::run(const void* x, const void* w, void* y, const void* z, const void* bias,
                           void* workspace, Stream stream) const {
  const Cudnn& api = cudnn();
  int64_t ids[5];
  const void* pointers[5];
  int64_t count = 0;
  const auto add = [&](int64_t id, const void* data) {
    ids[count] = id;
    pointers[count++] = data;
  };
  add(kX, x);
  add(kW, w);
  add(kY, y);
  if (z != nullptr) add(kZ, z);
  if (bias != nullptr) add(kBias, bias);
  const std::lock_guard lock(device_.cudnn_mutex());
  cudnnDescriptor pack = nullptr;
  int status = api.cudnnBackendCreateDescriptor(CudnnKind::VariantPack, &pack);
  const auto set = [&](CudnnAttribute name, CudnnType type, int64_t n, const void* values) {
    if (status == 0) status = api.cudnnBackendSetAttribute(pack, name, type, n, values);
  };
  set(CudnnAttribute::PackIds, CudnnType::Int64, count, ids);
  set(CudnnAttribute::PackPointers, CudnnType::Pointer, count, pointers);
  set(CudnnAttribute::PackWorkspace, CudnnType::Pointer, 1, &workspace);
  if (status == 0) status = api.cudnnBackendFinalize(pack);
  const cudnnHandle handle = device_.cudnn_handle();
  if (status == 0) status = api.cudnnSetStream(handle, as_stream(stream));
  if (status == 0) status = api.cudnnBackendExecute(handle, plan_, pack);
  api.cudnnBackendDestroyDescriptor(pack);
  if (status != 0) {
    base::fail("cuda", ErrorCode::Internal, "cuDNN convolution ", tactic_, ": status ", status);
  }
}

}  // namespace regraft::cuda
