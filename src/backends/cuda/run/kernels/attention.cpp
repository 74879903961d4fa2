#include <algorithm>
#include <cmath>

#include "backends/cuda/run/gemm.h"

namespace regraft::cuda {
namespace {

size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }

// query, key, value, mask -> [batch..., queries, features of value].
struct Problem {
  explicit Problem(const KernelRequest& request)
      : query(input_of(request, 0)),
        key(input_of(request, 1)),
        value(input_of(request, 2)),
        out(output_of(request, 0)) {
    scale = request.attributes.is_none("scale")
                ? 1 / std::sqrt(static_cast<double>(query.dims.back()))
                : request.attributes.number("scale");
    const size_t rank = out.dims.size();
    batch.assign(out.dims.begin(), out.dims.end() - 2);
    queries = out.dims[rank - 2];
    keys = key.dims[key.dims.size() - 2];
    features = query.dims.back();
    const bool grouped = request.attributes.flag("enable_gqa") && !batch.empty();
    const auto heads_of = [&](const LaunchOperand& operand) {
      return grouped && operand.dims.size() == rank ? operand.dims[rank - 3]
             : batch.empty()                        ? 1
                                                    : batch.back();
    };
    const int64_t key_heads = heads_of(key), value_heads = heads_of(value);
    query = over(query, batch);
    out = over(out, batch);
    Dims key_batch = batch, value_batch = batch;
    if (grouped) {
      key_batch.back() = key_heads;
      value_batch.back() = value_heads;
    }
    key = over(key, key_batch);
    value = over(value, value_batch);
    if (grouped && (key_heads != batch.back() || value_heads != batch.back())) {
      const auto [few, many] = std::minmax(key_heads, value_heads);
      if (many % few != 0) {
        // No head dimension fits both: every head of the query gets its own copy.
        copies = true;
        return;
      }
      levels = {few, many / few, batch.back() / many};
      for (LaunchOperand* operand : {&query, &key, &value, &out})
        split(*operand);
      batch.pop_back();
      batch.insert(batch.end(), levels.begin(), levels.end());
    }
  }

  LaunchOperand query, key, value, out;  // Over batch, then their own matrix.
  Dims batch;
  int64_t queries = 0, keys = 0, features = 0;
  double scale = 1;
  bool copies = false;
  // Where one head of key or value serves several of the query: the heads as three dimensions,
  // over each of which all operands walk evenly.
  Dims levels;

  // Replaces the head dimension, third from the end, by the levels.
  void split(LaunchOperand& operand) const {
    const size_t at = operand.dims.size() - 3;
    const int64_t heads = operand.dims[at], stride = operand.strides[at];
    Dims strides(3, 0);
    // How many of the operand's heads are left behind one step of a level.
    int64_t own = heads;
    for (size_t i = 0; i < 3; ++i) {
      if (own <= 1 || own % levels[i] != 0) continue;
      own /= levels[i];
      strides[i] = stride * own;
    }
    operand.dims.erase(operand.dims.begin() + static_cast<std::ptrdiff_t>(at));
    operand.strides.erase(operand.strides.begin() + static_cast<std::ptrdiff_t>(at));
    operand.dims.insert(operand.dims.begin() + static_cast<std::ptrdiff_t>(at), levels.begin(),
                        levels.end());
    operand.strides.insert(operand.strides.begin() + static_cast<std::ptrdiff_t>(at),
                           strides.begin(), strides.end());
  }

 private:
  // With strides over `lead` batch dims, to which its own broadcast.
  static LaunchOperand over(LaunchOperand operand, const Dims& wanted) {
    Operand lead;
    lead.dims.assign(operand.dims.begin(), operand.dims.end() - 2);
    lead.strides.assign(operand.strides.begin(), operand.strides.end() - 2);
    Dims strides = broadcast_strides(lead, wanted);
    const size_t rank = operand.dims.size();
    Dims dims = wanted;
    dims.insert(dims.end(), {operand.dims[rank - 2], operand.dims[rank - 1]});
    strides.insert(strides.end(), {operand.strides[rank - 2], operand.strides[rank - 1]});
    operand.dims = std::move(dims);
    operand.strides = std::move(strides);
    return operand;
  }
};

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
    const Problem problem(request);
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
    first_ = std::make_unique<Gemm>(device, first, workspace_);
    softmax_ = softmax(device, request, problem, scores, weights);
    Product second;
    second.batch = problem.batch;
    second.x = matrix_of(weights, batch);
    second.y = matrix_of(problem.value, batch);
    second.result = matrix_of(problem.out, batch);
    second_ = std::make_unique<Gemm>(device, second, workspace_);
    workspace_ = std::max(first_->workspace_bytes(), second_->workspace_bytes());
  }

  void run(const KernelArguments& arguments) const override {
    first_->run(arguments);
    softmax_.run(arguments);
    second_->run(arguments);
  }
  size_t workspace_bytes() const override { return workspace_; }
  std::string tactic() const override {
    return base::cat("products:", first_->tactic(), ",", second_->tactic());
  }

 private:
  static Launch softmax(CudaDevice& device, const KernelRequest& request, const Problem& problem,
                        const LaunchOperand& scores, const LaunchOperand& weights) {
    LineSpec spec;
    spec.source = "attention_softmax";
    spec.operands = {scores, weights};
    spec.reduced.assign(scores.dims.size(), false);
    spec.reduced.back() = true;
    const bool has_mask = is_present(request.inputs, 3);
    spec.defines = base::cat("#define HAS_MASK ", has_mask ? 1 : 0, "\n");
    if (has_mask) {
      LaunchOperand mask = input_of(request, 3);
      spec.defines += base::cat("#define MASK_IS_BOOL ", mask.dtype == DType::Bool ? 1 : 0, "\n");
      Dims dims = request.outputs[0].dims;
      dims.back() = problem.keys;
      mask.strides = broadcast_strides(request.inputs[3], dims);
      mask.dims = dims;
      if (!problem.levels.empty()) problem.split(mask);
      spec.operands.push_back(std::move(mask));
    }
    spec.caches = true;
    spec.cache_item = item_size(scores.dtype);
    spec.ints = {request.attributes.flag("is_causal") ? 1 : 0, problem.queries};
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
  if (Problem(request).copies) return std::make_unique<RepeatedHeads>(device, request);
  return std::make_unique<Attention>(device, request);
}

constexpr KernelDef kKernels[] = {{"scaled_dot_product_attention", prepare}};

}  // namespace

extern const KernelFile k_kernels_attention;
const KernelFile k_kernels_attention = kKernels;

}  // namespace regraft::cuda
