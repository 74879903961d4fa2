#include <algorithm>
#include <array>
#include <optional>

#include "backends/cpu/run/conversion.h"
#include "backends/cpu/run/epilogue.h"
#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/onednn.h"
#include "backends/cpu/run/packed_layout.h"
#include "backends/cpu/run/packer.h"
#include "base/parallel.h"

namespace regraft::cpu {
namespace {

using dnnl::memory;

// x, weight, bias and the epilogue's operands; attributes as the convolution op, and `epilogue`.
constexpr size_t kX = 0, kWeight = 1, kBias = 2, kFirstOperand = 3;

// How the weight [O, I/g, ...] (transposed: [I, O/g, ...]) becomes oneDNN's [g,] O/g, I/g, ....
WeightView weight_view(size_t rank, int64_t groups, bool transposed) {
  WeightView view = WeightView::identity(rank + (groups > 1 ? 1 : 0));
  view.groups = groups;
  if (transposed) std::swap(view.order[groups > 1 ? 1 : 0], view.order[groups > 1 ? 2 : 1]);
  return view;
}

struct Problem {
  explicit Problem(const KernelRequest& request);

  bool transposed = false;
  WeightView view;
  Dims stride, dilation, padding_begin, padding_end;
  Dims x, y, weight;  // The weight as oneDNN sees it.
  Epilogue epilogue;
};

Problem::Problem(const KernelRequest& request) {
  const Attributes& attributes = request.attributes;
  x = request.inputs[kX].dims;
  y = request.outputs[0].dims;
  const Dims& plain_weight = request.inputs[kWeight].dims;
  if (x.size() < 3 || x.size() > 5 || x.size() != plain_weight.size()) {
    unsupported(request, "x has ", x.size(), " dimensions");
  }
  if (numel(y) == 0 || numel(x) == 0) unsupported(request, "empty");
  transposed = attributes.flag("transposed");
  view = weight_view(plain_weight.size(), attributes.integer("groups"), transposed);
  weight = view.dims(plain_weight);
  stride = attributes.integers("stride");
  dilation = attributes.integers("dilation");
  padding_begin = attributes.integers("padding");
  for (size_t i = 0; i < stride.size(); ++i) {
    const int64_t kernel = (plain_weight[2 + i] - 1) * dilation[i] + 1;
    const int64_t small = transposed ? x[2 + i] : y[2 + i];
    const int64_t large = transposed ? y[2 + i] : x[2 + i];
    const int64_t reach = (small - 1) * stride[i] + kernel;
    padding_end.push_back(std::max<int64_t>(0, reach - large - padding_begin[i]));
    --dilation[i];  // oneDNN counts the zeros between taps.
  }
  epilogue = epilogue_of(request);
  if (request.inputs.size() > kFirstOperand + 12) unsupported(request, "too many operands");
}

// A primitive over channels-last activations of `type`, with weights as `packed` says or, without
// it, as oneDNN likes. Nothing when oneDNN has none, or only its reference.
std::optional<BuiltPrimitive> try_build(const KernelRequest& request, const Problem& problem,
                                        memory::data_type type, const PackedLayout* packed) {
  const memory::desc x(problem.x, type, channels_last_strides(problem.x));
  const memory::desc y(problem.y, type, channels_last_strides(problem.y));
  const memory::desc weights = packed != nullptr
                                   ? packed->descriptor()
                                   : memory::desc(problem.weight, type, memory::format_tag::any);
  memory::desc bias;
  if (is_present(request.inputs, kBias)) {
    bias = {{problem.y[1]}, *onednn_type(request.inputs[kBias].dtype), memory::format_tag::a};
  }
  BuiltPrimitive built;
  built.arguments = {
      {DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}};
  dnnl::primitive_attr attributes = user_scratchpad_attr();
  dnnl::post_ops post_ops;
  std::vector<memory::desc> operands;
  for (size_t i = kFirstOperand; i < request.inputs.size(); ++i) {
    const Dims& dims = request.inputs[i].dims;
    operands.emplace_back(dims, type, channels_last_strides(dims));
  }
  append_post_ops(problem.epilogue, operands, post_ops, built.arguments);
  attributes.set_post_ops(post_ops);
  const OnednnTeam team(base::thread_count());
  try {
    const auto kind = dnnl::prop_kind::forward_inference;
    const Problem& p = problem;
    if (p.transposed) {
      const dnnl::deconvolution_forward::primitive_desc descriptor(
          onednn_engine(), kind, dnnl::algorithm::deconvolution_direct, x, weights, bias, y,
          p.stride, p.dilation, p.padding_begin, p.padding_end, attributes);
      if (!built.take<dnnl::deconvolution_forward>(descriptor)) return std::nullopt;
    } else {
      const dnnl::convolution_forward::primitive_desc descriptor(
          onednn_engine(), kind, dnnl::algorithm::convolution_direct, x, weights, bias, y, p.stride,
          p.dilation, p.padding_begin, p.padding_end, attributes);
      if (!built.take<dnnl::convolution_forward>(descriptor)) return std::nullopt;
    }
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
  built.arguments[1].second = built.weights;
  return built;
}

// bf16 where the machine has it, else f32.
std::optional<BuiltPrimitive> try_build(const KernelRequest& request, const Problem& problem,
                                        const PackedLayout* packed) {
  const std::optional<memory::data_type> type = onednn_type(request.inputs[kX].dtype);
  if (!type) unsupported(request, "x is ", name(request.inputs[kX].dtype));
  if (packed != nullptr) return try_build(request, problem, *onednn_type(packed->dtype()), packed);
  if (auto built = try_build(request, problem, *type, nullptr)) return built;
  if (*type == memory::data_type::f32) return std::nullopt;
  return try_build(request, problem, memory::data_type::f32, nullptr);
}

class ConvolutionKernel final : public Kernel {
 public:
  // `pack`: the weight comes plain and is packed by every run. Where it comes packed otherwise than
  // the primitive wants it, every run reorders it.
  ConvolutionKernel(const KernelRequest& request, BuiltPrimitive built, const PackedLayout& layout,
                    bool pack)
      : call_(built.primitive, built.arguments, built.scratchpad),
        implementation_(std::move(built.implementation)) {
    const DType type = layout.dtype();
    scratchpad_ = workspace_.add(call_.scratchpad_bytes());
    const auto add_source = [&](const Operand& operand) {
      sources_.push_back(
          Conversion::of_source(operand, type, channels_last_strides(operand.dims), workspace_));
    };
    add_source(request.inputs[kX]);
    for (size_t i = kFirstOperand; i < request.inputs.size(); ++i)
      add_source(request.inputs[i]);
    target_ = Conversion::of_target(request.outputs[0], type,
                                    channels_last_strides(request.outputs[0].dims), workspace_);
    if (!pack && layout.descriptor() != built.weights) {
      const memory::desc from = layout.descriptor();
      dnnl::reorder::primitive_desc reorder(onednn_engine(), from, onednn_engine(), built.weights,
                                            user_scratchpad_attr());
      reorder_ =
          OnednnCall(dnnl::reorder(reorder), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, built.weights}},
                     reorder.scratchpad_desc());
      reorder_scratchpad_ = workspace_.add(reorder_.scratchpad_bytes());
      packed_ = workspace_.add(built.weights.get_size());
    }
    if (pack) {
      packer_.emplace(request.inputs[kWeight], request.inputs[kWeight].dtype, layout);
      packed_ = workspace_.add(layout.bytes());
    }
  }

  void run(const KernelArguments& arguments) const override {
    void* const workspace = arguments.workspace;
    std::array<void*, 16> addresses{};
    addresses[0] = sources_[0].source(arguments.inputs[kX], workspace);
    addresses[1] = const_cast<void*>(arguments.inputs[kWeight]);
    if (packer_) {
      packer_->run(addresses[1], Workspace::at(workspace, packed_));
      addresses[1] = Workspace::at(workspace, packed_);
    }
    if (reorder_) {
      void* const packed = Workspace::at(workspace, packed_);
      reorder_.run(std::array<void*, 2>{addresses[1], packed},
                   Workspace::at(workspace, reorder_scratchpad_));
      addresses[1] = packed;
    }
    addresses[2] = const_cast<void*>(arguments.inputs[kBias]);
    addresses[3] = target_.target(arguments.outputs[0], workspace);
    size_t count = 4;
    for (size_t i = 1; i < sources_.size(); ++i) {
      addresses[count++] = sources_[i].source(arguments.inputs[kFirstOperand + i - 1], workspace);
    }
    call_.run(std::span(addresses).first(count), Workspace::at(workspace, scratchpad_));
    target_.finish(arguments.outputs[0], workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return implementation_; }

 private:
  OnednnCall call_;
  std::string implementation_;
  Workspace workspace_;
  Workspace::Place scratchpad_, packed_, reorder_scratchpad_;
  OnednnCall reorder_;
  std::optional<Packer> packer_;
  std::vector<Conversion> sources_;
  Conversion target_;
};

Packing choose_packing(const KernelRequest& request, size_t input) {
  if (input != kWeight) return plain_packing(request.inputs[input]);
  const Problem problem(request);
  const std::optional<BuiltPrimitive> built = try_build(request, problem, nullptr);
  if (!built) unsupported(request, "oneDNN has no implementation");
  return PackedLayout(built->weights, problem.view, request.inputs[kWeight].dims).packing();
}

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  if (is_empty(request.outputs[0])) return std::make_unique<NoKernel>();
  const Problem problem(request);
  const Operand& weight = request.inputs[kWeight];
  std::optional<PackedLayout> layout;
  if (weight.is_constant && !weight.packing.is_plain()) {
    layout = PackedLayout::parse(weight.packing.id);
    if (layout->view() != problem.view || layout->logical() != request.inputs[kWeight].dims) {
      unsupported(request, "the weight's packing is another operator's: ", weight.packing.id);
    }
  }
  std::optional<BuiltPrimitive> built = try_build(request, problem, layout ? &*layout : nullptr);
  if (!built && layout) {
    // oneDNN may have nothing for the engine's packing at these shapes.
    built = try_build(request, problem, *onednn_type(layout->dtype()), nullptr);
  }
  if (!built) unsupported(request, "oneDNN has no implementation");
  const bool pack = !layout.has_value();
  if (pack) layout.emplace(built->weights, problem.view, request.inputs[kWeight].dims);
  return std::make_unique<ConvolutionKernel>(request, std::move(*built), *layout, pack);
}

constexpr KernelDef kKernels[] = {{"convolution", &prepare, &choose_packing}};

}  // namespace

extern const KernelFile k_kernels_convolution;
const KernelFile k_kernels_convolution = kKernels;

}  // namespace regraft::cpu
