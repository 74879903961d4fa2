#include "backends/cuda/run/gemm.h"

#include <algorithm>

#include "backends/cuda/run/pointwise.h"
#include "backends/cuda/run/tf32.h"
#include "backends/cuda/run/tuner.h"

namespace regraft::cuda {
namespace {

// What NVIDIA recommends for Hopper.
constexpr size_t kWorkspace = size_t{32} << 20;
constexpr int kMostGuesses = 12;

int cuda_type(DType dtype) {
  switch (dtype) {
    case DType::F16:
      return kCudaF16;
    case DType::BF16:
      return kCudaBF16;
    case DType::F64:
      return kCudaF64;
    default:
      return kCudaF32;
  }
}

void check_lt(int status, const char* what) {
  if (status != 0) {
    base::fail("cuda", ErrorCode::Internal, "cuBLASLt: ", what, ": status ", status);
  }
}

// A matrix as columns one after the other, or transposed, at a distance `ld`.
struct Stored {
  bool usable = false;
  bool row_major = false;
  int64_t ld = 0;
};

Stored stored(const MatrixOperand& m) {
  if ((m.column == 1 || m.columns == 1) && (m.rows == 1 || m.row >= m.columns)) {
    return {true, true, m.rows == 1 ? m.columns : m.row};
  }
  if ((m.row == 1 || m.rows == 1) && (m.columns == 1 || m.column >= m.rows)) {
    return {true, false, m.columns == 1 ? m.rows : m.column};
  }
  return {};
}

bool is_usable(const MatrixOperand& m) { return stored(m).usable; }

constexpr std::string_view kKind = "cublasLt:";

// cublasLtMatmulAlgoConfigAttributes_t, 0 to 8: algorithm, tile, split-K, reduction, swizzling,
// custom option, stages, inner shape, cluster shape; the last two have 16 bits.
std::string id_of(const cublasLtMatmulAlgo& algo) {
  std::string text(kKind);
  for (int attribute = 0; attribute <= 8; ++attribute) {
    uint32_t value = 0;
    size_t written = 0;
    cublaslt().cublasLtMatmulAlgoConfigGetAttribute(&algo, attribute, &value, attribute < 7 ? 4 : 2,
                                                    &written);
    text += base::cat(attribute == 0 ? "" : ".", value);
  }
  return text;
}

}  // namespace

MatrixOperand matrix_of(const LaunchOperand& operand, size_t batch_dims) {
  MatrixOperand m;
  m.place = operand.place;
  m.dtype = operand.dtype;
  m.alignment = operand.alignment;
  m.rows = operand.dims[batch_dims];
  m.columns = operand.dims[batch_dims + 1];
  m.row = operand.strides[batch_dims];
  m.column = operand.strides[batch_dims + 1];
  m.batch.assign(operand.strides.begin(),
                 operand.strides.begin() + static_cast<std::ptrdiff_t>(batch_dims));
  return m;
}

bool Gemm::supports(DType dtype) { return is_floating(dtype); }

// The operand itself, or a row-major copy of it in the workspace.
MatrixOperand Gemm::readable(const MatrixOperand& operand, const Dims& batch) {
  if (is_usable(operand)) return operand;
  LaunchOperand from{operand.place, operand.dtype, batch, operand.batch, operand.alignment};
  from.dims.insert(from.dims.end(), {operand.rows, operand.columns});
  from.strides.insert(from.strides.end(), {operand.row, operand.column});
  LaunchOperand to = from;
  // Batches that share a matrix share its copy.
  for (size_t d = 0; d < batch.size(); ++d) {
    if (operand.batch[d] == 0) from.dims[d] = to.dims[d] = 1;
  }
  to.strides = contiguous_strides(to.dims);
  to.place = Place::workspace(workspace_bytes_);
  workspace_bytes_ += rounded(static_cast<size_t>(numel(to.dims)) * item_size(to.dtype));
  copies_.push_back(make_copy(device_, from, to));
  for (size_t d = 0; d < batch.size(); ++d) {
    if (to.dims[d] == 1) to.strides[d] = 0;
  }
  return matrix_of(to, batch.size());
}

Gemm::Gemm(CudaDevice& device, const KernelRequest& request, const Product& product,
           size_t workspace_offset, size_t nth)
    : device_(device), workspace_bytes_(workspace_offset), is_tf32_(allows_tf32(request)) {
  if (!supports(product.x.dtype) || !is_usable(product.result) ||
      !stored(product.result).row_major) {
    base::fail("backends", ErrorCode::Unsupported, "cuda: no product of ", name(product.x.dtype),
               " into this layout");
  }
  plan(product);
  choose(request, nth);
}

void Gemm::plan(const Product& product) {
  const CublasLt& lt = cublaslt();
  x_ = readable(product.x, product.batch);
  y_ = readable(product.y, product.batch);
  result_ = product.result;
  addend_ = product.addend;
  if (product.bias) bias_ = product.bias->place;
  is_double_ = result_.dtype == DType::F64;

  // The innermost batch dimension is cuBLASLt's; the others are calls.
  Dims batch = product.batch;
  int64_t count = 1;
  Dims x_batch = x_.batch, y_batch = y_.batch, result_batch = result_.batch;
  Dims addend_batch = addend_ ? addend_->batch : Dims(batch.size(), 0);
  int64_t strides[4] = {0, 0, 0, 0};
  // Neighbours that all operands walk evenly are one dimension.
  const auto merges = [&](const Dims& s, size_t d) { return s[d] == s[d + 1] * batch[d + 1]; };
  for (size_t d = batch.size(); d-- > 1;) {
    const size_t outer = d - 1;
    const bool trivial = batch[d] == 1 || batch[outer] == 1;
    if (!trivial && !(merges(x_batch, outer) && merges(y_batch, outer) &&
                      merges(result_batch, outer) && (!addend_ || merges(addend_batch, outer)))) {
      continue;
    }
    for (Dims* s : {&x_batch, &y_batch, &result_batch, &addend_batch}) {
      if (batch[d] == 1) (*s)[d] = (*s)[outer];
      s->erase(s->begin() + static_cast<std::ptrdiff_t>(outer));
    }
    batch[d] *= batch[outer];
    batch.erase(batch.begin() + static_cast<std::ptrdiff_t>(outer));
  }
  if (!batch.empty()) {
    count = batch.back();
    strides[0] = x_batch.back();
    strides[1] = y_batch.back();
    strides[2] = result_batch.back();
    strides[3] = addend_batch.back();
    batch.pop_back();
  }
  const int64_t outer_calls = numel(batch);
  for (int64_t i = 0; i < outer_calls; ++i) {
    Call call;
    int64_t rest = i;
    for (size_t d = batch.size(); d-- > 0;) {
      const int64_t p = rest % batch[d];
      rest /= batch[d];
      const auto add = [&](std::ptrdiff_t& to, const Dims& s, DType dtype) {
        to += p * s[d] * static_cast<std::ptrdiff_t>(item_size(dtype));
      };
      add(call.x, x_batch, x_.dtype);
      add(call.y, y_batch, y_.dtype);
      add(call.result, result_batch, result_.dtype);
      add(call.addend, addend_batch, result_.dtype);
    }
    calls_.push_back(call);
  }

  // Row-major results are columns of their transposes: result^T = y^T x^T.
  const Stored x = stored(x_), y = stored(y_), result = stored(result_);
  const int compute = is_double_ ? kCompute64F : is_tf32_ ? kCompute32FFastTF32 : kCompute32F;
  check_lt(lt.cublasLtMatmulDescCreate(&desc_, compute, is_double_ ? kCudaF64 : kCudaF32),
           "make a descriptor");
  const int32_t a_op = y.row_major ? kNoTranspose : kTranspose;
  const int32_t b_op = x.row_major ? kNoTranspose : kTranspose;
  lt.cublasLtMatmulDescSetAttribute(desc_, kDescTransA, &a_op, sizeof a_op);
  lt.cublasLtMatmulDescSetAttribute(desc_, kDescTransB, &b_op, sizeof b_op);
  int epilogue = product.activation == Product::Activation::Relu       ? kEpilogueRelu
                 : product.activation == Product::Activation::GeluTanh ? kEpilogueGelu
                                                                       : 0;
  if (bias_) epilogue |= kEpilogueBias;
  if (epilogue == 0) epilogue = kEpilogueDefault;
  lt.cublasLtMatmulDescSetAttribute(desc_, kDescEpilogue, &epilogue, sizeof epilogue);
  const auto layout = [&](cublasLtMatrixLayout* made, DType dtype, int64_t rows, int64_t columns,
                          int64_t ld, int64_t stride) {
    check_lt(lt.cublasLtMatrixLayoutCreate(made, cuda_type(dtype), static_cast<uint64_t>(rows),
                                           static_cast<uint64_t>(columns), ld),
             "make a layout");
    const auto batches = static_cast<int32_t>(count);
    lt.cublasLtMatrixLayoutSetAttribute(*made, kLayoutBatchCount, &batches, sizeof batches);
    lt.cublasLtMatrixLayoutSetAttribute(*made, kLayoutBatchStride, &stride, sizeof stride);
  };
  const int64_t m = result_.rows, n = result_.columns, k = x_.columns;
  layout(&a_, y_.dtype, y.row_major ? n : k, y.row_major ? k : n, y.ld, strides[1]);
  layout(&b_, x_.dtype, x.row_major ? k : m, x.row_major ? m : k, x.ld, strides[0]);
  layout(&c_, result_.dtype, n, m, result.ld, strides[2]);
  problem_ = base::cat("product ", is_tf32_ ? "tf32" : name(result_.dtype),
                       x_.dtype == result_.dtype ? "" : base::cat(" of ", name(x_.dtype)), " ", m,
                       "x", n, "x", k, " batch ", count, " calls ", outer_calls, " operations ",
                       a_op, b_op, " epilogue ", epilogue, " addend ", addend_ ? 1 : 0, " ld ",
                       y.ld, ",", x.ld, ",", result.ld, " strides ", strides[1], ",", strides[0],
                       ",", strides[2], " alignment ", y_.alignment, ",", x_.alignment, ",",
                       addend_ ? addend_->alignment : result_.alignment, ",", result_.alignment);
}

std::vector<cublasLtMatmulHeuristicResult> Gemm::guesses() const {
  const CublasLt& lt = cublaslt();
  cublasLtMatmulPreference preference = nullptr;
  check_lt(lt.cublasLtMatmulPreferenceCreate(&preference), "make a preference");
  const size_t bytes = kWorkspace;
  lt.cublasLtMatmulPreferenceSetAttribute(preference, kPreferWorkspaceBytes, &bytes, sizeof bytes);
  // Parts of a sum are added up in float.
  lt.cublasLtMatmulPreferenceSetAttribute(preference, kPreferReductions, &kWideReductions,
                                          sizeof kWideReductions);
  const auto align = [&](int attribute, size_t alignment) {
    const auto value = static_cast<uint32_t>(alignment);
    lt.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
  };
  align(kPreferAlignmentA, y_.alignment);
  align(kPreferAlignmentB, x_.alignment);
  align(kPreferAlignmentC, addend_ ? addend_->alignment : result_.alignment);
  align(kPreferAlignmentD, result_.alignment);
  if (bias_) {
    // Heuristics of epilogues want an address; any aligned one will do.
    const void* address = reinterpret_cast<const void*>(uintptr_t{4096});
    lt.cublasLtMatmulDescSetAttribute(desc_, kDescBiasPointer, &address, sizeof address);
  }
  std::vector<cublasLtMatmulHeuristicResult> found(kMostGuesses);
  int count = 0;
  const int status =
      lt.cublasLtMatmulAlgoGetHeuristic(device_.cublaslt_handle(), desc_, a_, b_, c_, c_,
                                        preference, kMostGuesses, found.data(), &count);
  lt.cublasLtMatmulPreferenceDestroy(preference);
  found.resize(status == 0 ? static_cast<size_t>(count) : 0);
  std::erase_if(found, [](const auto& guess) { return guess.state != 0; });
  if (found.empty()) {
    base::fail("backends", ErrorCode::Unsupported, "cuda: cuBLASLt has no algorithm for ",
               result_.rows, " x ", result_.columns, " x ", x_.columns, " of ", name(result_.dtype),
               " (status ", status, ")");
  }
  return found;
}

void Gemm::choose(const KernelRequest& request, size_t nth) {
  const std::vector<cublasLtMatmulHeuristicResult> found = guesses();
  lt_workspace_offset_ = rounded(workspace_bytes_);
  Tuner& tuner = tuner_of(device_);
  size_t taken = 0, spare = 0;
  if (const auto known = tuner.known(request, problem_, kKind, nth)) {
    while (taken < found.size() && id_of(found[taken].algo) != *known)
      ++taken;
    if (taken == found.size()) taken = 0;
  } else if (found.size() > 1 && Tuner::may_time(request)) {
    std::vector<Candidate> candidates;
    for (const auto& guess : found) {
      candidates.push_back({id_of(guess.algo), lt_workspace_offset_ + guess.workspaceSize,
                            [this, &guess](const KernelArguments& arguments) {
                              check_lt(multiply(arguments, guess.algo, guess.workspaceSize),
                                       "multiply");
                            }});
    }
    taken = tuner.fastest(request, problem_, candidates);
  }
  if (!Tuner::may_time(request)) {
    constexpr size_t kSpare = 3;
    spare = std::min(kSpare, found.size() - 1 - taken);
  }
  for (size_t i = taken; i <= taken + spare; ++i) {
    algos_.push_back(found[i].algo);
    lt_workspace_bytes_ = std::max(lt_workspace_bytes_, found[i].workspaceSize);
  }
  workspace_bytes_ = lt_workspace_offset_ + lt_workspace_bytes_;
}

Gemm::~Gemm() {
  const CublasLt& lt = cublaslt();
  for (cublasLtMatrixLayout layout : {a_, b_, c_}) {
    if (layout != nullptr) lt.cublasLtMatrixLayoutDestroy(layout);
  }
  if (desc_ != nullptr) lt.cublasLtMatmulDescDestroy(desc_);
}

std::string Gemm::tactic() const { return id_of(algos_.front()); }

void Gemm::run(const KernelArguments& arguments) const {
  for (const Launch& copy : copies_)
    copy.run(arguments);
  // Guesses of cuBLASLt are not always taken by cuBLASLt. A refusal enqueues nothing, and the first
  // run is never part of a recording.
  size_t at = running_;
  int status = multiply(arguments, algos_[at], lt_workspace_bytes_);
  while (status != 0 && at + 1 < algos_.size()) {
    status = multiply(arguments, algos_[++at], lt_workspace_bytes_);
    running_ = at;
  }
  check_lt(status, "multiply");
}

int Gemm::multiply(const KernelArguments& arguments, const cublasLtMatmulAlgo& algo,
                   size_t workspace_bytes) const {
  const CublasLt& lt = cublaslt();
  const auto at = [&](const Place& place, std::ptrdiff_t offset) {
    return static_cast<std::byte*>(place.in(arguments)) + offset;
  };
  std::byte* workspace = static_cast<std::byte*>(arguments.workspace) + lt_workspace_offset_;
  const float ones[2] = {1.f, addend_ ? 1.f : 0.f};
  const double double_ones[2] = {1., addend_ ? 1. : 0.};
  const void* alpha = is_double_ ? static_cast<const void*>(&double_ones[0]) : &ones[0];
  const void* beta = is_double_ ? static_cast<const void*>(&double_ones[1]) : &ones[1];
  const std::lock_guard lock(mutex_);
  if (bias_) {
    const void* address = bias_->in(arguments);
    lt.cublasLtMatmulDescSetAttribute(desc_, kDescBiasPointer, &address, sizeof address);
  }
  for (const Call& call : calls_) {
    std::byte* result = at(result_.place, call.result);
    const std::byte* addend = addend_ ? at(addend_->place, call.addend) : result;
    const int status =
        lt.cublasLtMatmul(device_.cublaslt_handle(), desc_, alpha, at(y_.place, call.y), a_,
                          at(x_.place, call.x), b_, beta, addend, c_, result, c_, &algo, workspace,
                          workspace_bytes, as_stream(arguments.stream));
    if (status != 0) return status;
  }
  return 0;
}

}  // namespace regraft::cuda
