#include "backends/cuda/run/attention.h"

#include "backends/cuda/run/gemm.h"

namespace regraft::cuda {
namespace {

LaunchOperand scratch(size_t& workspace, DType dtype, const Dims& batch, int64_t rows,
                      int64_t columns) {
  LaunchOperand made;
  made.place = Place::workspace(workspace);
  made.dtype = dtype;
  made.dims = batch;
  made.dims.insert(made.dims.end(), {rows, columns});
  made.strides = contiguous_strides(made.dims);
  workspace += rounded(static_cast<size_t>(numel(made.dims)) * item_size(dtype));
  return made;
}

// Scores, softmax and the sum of values, one after the other.
class Attention final : public Kernel {
 public:
  Attention(CudaDevice& device, const KernelRequest& request) {
    const AttentionProblem problem(request);
    const size_t batch = problem.batch.size();
    const DType dtype = request.outputs[0].dtype;
    const DType wide = dtype == DType::F64 ? DType::F64 : DType::F32;
    const LaunchOperand scores =
        scratch(workspace_, wide, problem.batch, problem.queries, problem.keys);
    LaunchOperand weights = scores;
    if (dtype != wide) {
      weights = scratch(workspace_, dtype, problem.batch, problem.queries, problem.keys);
    }
    LaunchOperand key = problem.key;
    std::swap(key.dims[batch], key.dims[batch + 1]);
    std::swap(key.strides[batch], key.strides[batch + 1]);
    Product first;
    first.batch = problem.batch;
    first.x = matrix_of(problem.query, batch);
    first.y = matrix_of(key, batch);
    first.result = matrix_of(scores, batch);
    first_ = std::make_unique<Gemm>(device, request, first, workspace_);
    softmax_ = softmax(device, problem, scores, weights);
    Product second;
    second.batch = problem.batch;
    second.x = matrix_of(weights, batch);
    second.y = matrix_of(problem.value, batch);
    second.result = matrix_of(problem.out, batch);
    second_ = std::make_unique<Gemm>(device, request, second, workspace_, 1);
    workspace_ = std::max(first_->workspace_bytes(), second_->workspace_bytes());
  }

  void run(const KernelArguments& arguments) const override {
    first_->run(arguments);
    softmax_.run(arguments);
    second_->run(arguments);
  }
  size_t workspace_bytes() const override { return workspace_; }
  std::string tactic() const override {
    return base::cat("products+", first_->tactic(), "+", second_->tactic());
  }

 private:
  static Launch softmax(CudaDevice& device, const AttentionProblem& problem,
                        const LaunchOperand& scores, const LaunchOperand& weights) {
    LineSpec spec;
    spec.source = "attention_softmax";
    spec.operands = {scores, weights};
    spec.reduced.assign(scores.dims.size(), false);
    spec.reduced.back() = true;
    spec.defines = base::cat("#define HAS_MASK ", problem.mask ? 1 : 0, "\n");
    if (problem.mask) {
      spec.defines +=
          base::cat("#define MASK_IS_BOOL ", problem.mask->dtype == DType::Bool ? 1 : 0, "\n");
      spec.operands.push_back(*problem.mask);
    }
    spec.caches = true;
    spec.cache_item = item_size(scores.dtype);
    spec.ints = {problem.causal ? 1 : 0, problem.queries};
    spec.numbers = {problem.scale};
    return make_line(device, spec);
  }

  std::unique_ptr<Gemm> first_, second_;
  Launch softmax_;
  size_t workspace_ = 0;
};

// Attention over copies of key and value in the workspace, one head for each of the query.
class RepeatedHeads final : public Kernel {
 public:
  RepeatedHeads(CudaDevice& device, const KernelRequest& request) {
    KernelRequest repeated = request;
    const size_t axis = request.outputs[0].dims.size() - 3;
    const int64_t heads = request.outputs[0].dims[axis];
    for (size_t i : {size_t{1}, size_t{2}}) {
      Operand& operand = repeated.inputs[i];
      ElementSpec spec;
      spec.source = "remap";
      spec.defines = "#define OP_repeat_interleave\n";
      spec.inputs = {input_of(request, i)};
      spec.ints = {static_cast<int64_t>(axis), heads / operand.dims[axis]};
      operand.dims[axis] = heads;
      operand.strides = contiguous_strides(operand.dims);
      spec.outputs = {input_of(repeated, i)};
      spec.outputs[0].place = Place::workspace(workspace_);
      spec.moves = true;
      places_[i - 1] = workspace_;
      workspace_ += rounded(static_cast<size_t>(numel(operand.dims)) * item_size(operand.dtype));
      copies_.push_back(make_element(device, spec));
    }
    attention_ = std::make_unique<Attention>(device, repeated);
  }
  void run(const KernelArguments& arguments) const override {
    for (const Launch& copy : copies_)
      copy.run(arguments);
    auto* workspace = static_cast<std::byte*>(arguments.workspace);
    std::vector<const void*> inputs(arguments.inputs.begin(), arguments.inputs.end());
    inputs[1] = workspace + places_[0];
    inputs[2] = workspace + places_[1];
    attention_->run({inputs, arguments.outputs, workspace + workspace_, arguments.stream});
  }
  size_t workspace_bytes() const override { return workspace_ + attention_->workspace_bytes(); }
  std::string tactic() const override { return attention_->tactic(); }

 private:
  std::vector<Launch> copies_;
  size_t places_[2] = {0, 0}, workspace_ = 0;
  std::unique_ptr<Attention> attention_;
};

std::unique_ptr<Kernel> prepare(CudaDevice& device, const KernelRequest& request) {
  const DType dtype = request.outputs[0].dtype;
  if (is_empty(request.outputs[0])) return std::make_unique<NoKernel>();
  if (!is_floating(dtype)) unsupported(request, "want floats, have ", name(dtype));
  for (size_t i = 0; i < 3; ++i) {
    if (request.inputs[i].dtype != dtype) unsupported(request, "operands of different dtypes");
    if (!is_empty(request.inputs[i])) continue;
    // Without keys there is nothing to take the mean of.
    ElementSpec zeros;
    zeros.source = "creation";
    zeros.defines = "#define OP_full\n";
    zeros.outputs = {output_of(request, 0)};
    return make_kernel(make_element(device, zeros), "zeros");
  }
  const AttentionProblem problem(request);
  if (problem.copies) return std::make_unique<RepeatedHeads>(device, request);
  if (auto flash = try_make_flash(device, request, problem)) return flash;
  return std::make_unique<Attention>(device, request);
}

constexpr KernelDef kKernels[] = {{"scaled_dot_product_attention", prepare}};

}  // namespace

extern const KernelFile k_kernels_attention;
const KernelFile k_kernels_attention = kKernels;

}  // namespace regraft::cuda
