#include "backends/cpu/run/gemm.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/parallel.h"

namespace regraft::cpu {
namespace {

using dnnl::memory;

constexpr size_t kMaxOperands = 8;

// The stride between rows when the leading dimensions, taken in `order`, step evenly and columns
// are neighbours.
std::optional<int64_t> row_stride(const Operand& operand, const std::vector<size_t>& order) {
  const Dims& dims = operand.dims;
  if (dims.back() != 1 && operand.strides.back() != 1) return std::nullopt;
  std::optional<int64_t> stride;
  int64_t expected = 0;
  for (size_t i = order.size(); i-- > 0;) {
    const size_t d = order[i];
    if (dims[d] == 1) continue;
    if (!stride) {
      stride = expected = operand.strides[d];
    } else if (operand.strides[d] != expected) {
      return std::nullopt;
    }
    expected *= dims[d];
  }
  if (stride && *stride < dims.back()) return std::nullopt;  // Expanded rows.
  return stride.value_or(dims.back());
}

// Dense strides with the leading dimensions in `order`.
Dims dense_strides(const Dims& dims, const std::vector<size_t>& order) {
  Dims strides(dims.size(), 1);
  int64_t stride = dims.back();
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= dims[order[i]];
  }
  return strides;
}

memory::desc descriptor(const MatrixView& view, memory::data_type type) {
  return {view.dims, type, view.strides};
}

class GemmKernel final : public Kernel {
 public:
  GemmKernel(const GemmProblem& problem, const GemmInputs& inputs, BuiltPrimitive built, DType type,
             const PackedLayout* layout)
      : call_(built.primitive, built.arguments, built.scratchpad),
        implementation_(std::move(built.implementation)),
        inputs_(inputs) {
    scratchpad_ = workspace_.add(call_.scratchpad_bytes());
    const auto source = [&](const GemmProblem::Side& side) {
      return Conversion::of_source(*side.operand, type, side.lies, workspace_);
    };
    x_ = source(problem.x);
    if (layout == nullptr) weight_ = source(problem.weight);
    for (const GemmProblem::Side& side : problem.operands)
      operands_.push_back(source(side));
    out_ = Conversion::of_target(*problem.out.operand, type, problem.out.lies, workspace_);
  }

  void run(const KernelArguments& arguments) const override {
    void* const workspace = arguments.workspace;
    std::array<void*, kMaxOperands + 4> addresses{};
    size_t count = 0;
    addresses[count++] = x_.source(arguments.inputs[inputs_.x], workspace);
    addresses[count++] = weight_.source(arguments.inputs[inputs_.weight], workspace);
    addresses[count++] = out_.target(arguments.outputs[0], workspace);
    if (inputs_.bias) addresses[count++] = const_cast<void*>(arguments.inputs[*inputs_.bias]);
    for (size_t i = 0; i < operands_.size(); ++i) {
      addresses[count++] =
          operands_[i].source(arguments.inputs[inputs_.first_operand + i], workspace);
    }
    call_.run(std::span(addresses).first(count), Workspace::at(workspace, scratchpad_));
    out_.finish(arguments.outputs[0], workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return implementation_; }

 private:
  OnednnCall call_;
  std::string implementation_;
  GemmInputs inputs_;
  Workspace workspace_;
  Workspace::Place scratchpad_;
  Conversion x_, weight_, out_;
  std::vector<Conversion> operands_;
};

}  // namespace

std::vector<size_t> row_order(const Operand& operand) {
  std::vector<size_t> order(operand.dims.size() - 1);
  std::iota(order.begin(), order.end(), 0);
  // The stride of a size of 1 means nothing.
  const auto width = [&](size_t d) {
    return operand.dims[d] == 1 ? INT64_MAX : operand.strides[d];
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return width(a) > width(b); });
  return order;
}

GemmProblem::Side rows_of(const Operand& operand, const std::vector<size_t>& order) {
  const int64_t columns = operand.dims.back();
  const int64_t rows = columns == 0 ? 0 : numel(operand.dims) / columns;
  const std::optional<int64_t> stride = row_stride(operand, order);
  GemmProblem::Side side;
  side.operand = &operand;
  side.lies = stride ? operand.strides : dense_strides(operand.dims, order);
  side.view = {{rows, columns}, {stride.value_or(columns), 1}};
  return side;
}

std::optional<BuiltPrimitive> try_build(const GemmProblem& problem, memory::data_type type,
                                        const PackedLayout* packed, bool want_packed) {
  const memory::desc x = descriptor(problem.x.view, type);
  const memory::desc out = descriptor(problem.out.view, type);
  const memory::desc weights =
      packed != nullptr ? packed->descriptor()
      : want_packed     ? memory::desc(problem.weight.view.dims, type, memory::format_tag::any)
                        : descriptor(problem.weight.view, type);
  memory::desc bias;
  BuiltPrimitive built;
  built.arguments = {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, out}};
  if (problem.bias != nullptr) {
    Dims dims(problem.out.view.dims.size(), 1);
    dims.back() = problem.columns();
    bias = {dims, *onednn_type(problem.bias->dtype), contiguous_strides(dims)};
    built.arguments.emplace_back(DNNL_ARG_BIAS, bias);
  }
  std::vector<memory::desc> operands;
  for (const GemmProblem::Side& side : problem.operands) {
    operands.push_back(descriptor(side.view, type));
  }
  dnnl::post_ops post_ops;
  append_post_ops(problem.epilogue, operands, post_ops, built.arguments);
  dnnl::primitive_attr attributes = user_scratchpad_attr();
  attributes.set_post_ops(post_ops);
  const OnednnTeam team(base::thread_count());
  try {
    const auto description =
        problem.bias != nullptr
            ? dnnl::matmul::primitive_desc(onednn_engine(), x, weights, bias, out, attributes)
            : dnnl::matmul::primitive_desc(onednn_engine(), x, weights, out, attributes);
    if (!built.take<dnnl::matmul>(description)) return std::nullopt;
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
  built.arguments[1].second = built.weights;
  return built;
}

std::optional<PackedLayout> choose_gemm_packing(const GemmProblem& problem, DType type) {
  for (const DType candidate : {type, DType::F32}) {
    if (const auto built = try_build(problem, *onednn_type(candidate), nullptr, true)) {
      return PackedLayout(built->weights, problem.weight_view, problem.weight.operand->dims);
    }
  }
  return std::nullopt;
}

std::unique_ptr<Kernel> make_gemm(const GemmProblem& problem, const GemmInputs& inputs) {
  if (problem.operands.size() > kMaxOperands) return nullptr;
  const Operand& weight = *problem.weight.operand;
  if (weight.is_constant && !weight.packing.is_plain()) {
    const PackedLayout layout = PackedLayout::parse(weight.packing.id);
    if (layout.view() != problem.weight_view || layout.logical() != weight.dims) return nullptr;
    auto built = try_build(problem, *onednn_type(layout.dtype()), &layout, false);
    if (!built) return nullptr;
    return std::make_unique<GemmKernel>(problem, inputs, std::move(*built), layout.dtype(),
                                        &layout);
  }
  for (const DType type : {problem.x.operand->dtype, DType::F32}) {
    auto built = try_build(problem, *onednn_type(type), nullptr, false);
    if (built) {
      return std::make_unique<GemmKernel>(problem, inputs, std::move(*built), type, nullptr);
    }
  }
  return nullptr;
}

}  // namespace regraft::cpu
