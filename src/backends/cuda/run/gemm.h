#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

#include "backends/cuda/run/launch.h"

namespace regraft::cuda {

// A stack of matrices: what is behind the batch dimensions is rows x columns.
struct MatrixOperand {
  Place place;
  DType dtype = DType::F32;
  int64_t rows = 0, columns = 0;
  int64_t row = 0, column = 0;  // Strides.
  Dims batch;                   // Strides over the result's batch dimensions.
  size_t alignment = 16;
};

// result = x @ y (+ addend) (+ bias), then an activation.
struct Product {
  MatrixOperand x, y, result;
  Dims batch;                           // Sizes of the batch dimensions.
  std::optional<MatrixOperand> addend;  // Of the result's layout.
  std::optional<LaunchOperand> bias;    // One number per column.
  enum class Activation : uint8_t { None, Relu, GeluTanh } activation = Activation::None;
};

// A product as calls of cuBLASLt, chosen by the device's tuner among what its heuristics give,
// which is the same for the same problem, chip and version. Operands that it cannot read are copied
// to the workspace first.
class Gemm {
 public:
  // The workspace of the product begins `workspace_offset` bytes into the kernel's; it is the
  // request's product number `nth`. Throws Error{Unsupported} for dtypes that cuBLASLt has no
  // product of.
  Gemm(CudaDevice& device, const KernelRequest& request, const Product& product,
       size_t workspace_offset = 0, size_t nth = 0);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void run(const KernelArguments& arguments) const;
  size_t workspace_bytes() const { return workspace_bytes_; }  // From the kernel's start.
  std::string tactic() const;

  static bool supports(DType dtype);

 private:
  struct Call {
    std::ptrdiff_t x = 0, y = 0, result = 0, addend = 0;  // Offsets in bytes.
  };
  MatrixOperand readable(const MatrixOperand& operand, const Dims& batch);
  void plan(const Product& product);
  std::vector<cublasLtMatmulHeuristicResult> guesses() const;
  void choose(const KernelRequest& request, size_t nth);
  // The status of the library: 0 for enqueued.
  int multiply(const KernelArguments& arguments, const cublasLtMatmulAlgo& algo,
               size_t workspace_bytes) const;

  CudaDevice& device_;
  MatrixOperand x_, y_, result_;
  std::optional<MatrixOperand> addend_;
  std::optional<Place> bias_;
  std::vector<Launch> copies_;
  std::vector<Call> calls_;
  size_t workspace_bytes_ = 0, lt_workspace_offset_ = 0, lt_workspace_bytes_ = 0;
  bool is_double_ = false, is_tf32_ = false;
  cublasLtMatmulDesc desc_ = nullptr;
  cublasLtMatrixLayout a_ = nullptr, b_ = nullptr, c_ = nullptr;
  // The choice, then what stands in where that was not timed and turns out not to run.
  std::vector<cublasLtMatmulAlgo> algos_;
  mutable std::atomic<size_t> running_{0};  // Which of them.
  std::string problem_;                     // All that an algorithm's speed depends on.
  mutable std::mutex mutex_;  // The descriptor holds the bias's address from setting to calling.
};

// The operand of a tensor whose last two dimensions are a matrix.
MatrixOperand matrix_of(const LaunchOperand& operand, size_t batch_dims);

}  // namespace regraft::cuda
