#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>

#include "backends/cpu/run/conversion.h"
#include "backends/cpu/run/epilogue.h"
#include "backends/cpu/run/kernel.h"
#include "backends/cpu/run/late_epilogue.h"
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

memory::desc channels_last(const Dims& dims, memory::data_type type) {
  return {dims, type, channels_last_strides(dims)};
}

// The first `count` items of an epilogue.
Epilogue first_items(const Epilogue& epilogue, size_t count) {
  return {epilogue.begin(), epilogue.begin() + static_cast<std::ptrdiff_t>(count)};
}

size_t operand_count(const Epilogue& epilogue) {
  return static_cast<size_t>(
      std::count_if(epilogue.begin(), epilogue.end(), [](const auto& i) { return i.is_binary(); }));
}

// Operands of the epilogue, from `first` on and `count` of them.
std::vector<memory::desc> operands_of(const KernelRequest& request, memory::data_type type,
                                      size_t first, size_t count) {
  std::vector<memory::desc> operands;
  for (size_t i = 0; i < count; ++i)
    operands.push_back(channels_last(request.inputs[kFirstOperand + first + i].dims, type));
  return operands;
}

// What a primitive is to be.
struct Form {
  memory::data_type type;
  const PackedLayout* packed;  // Of the weights; null: as oneDNN likes.
  size_t fused;                // How many items of the epilogue it does.
  bool allow_reference;
};

struct Convolution {
  BuiltPrimitive primitive;
  size_t fused = 0;
};

// A primitive over channels-last activations. Nothing when oneDNN has none, or only its reference
// where that is not allowed.
std::optional<Convolution> try_build(const KernelRequest& request, const Problem& problem,
                                     const Form& form) {
  const memory::desc x = channels_last(problem.x, form.type);
  const memory::desc y = channels_last(problem.y, form.type);
  const memory::desc weights =
      form.packed != nullptr ? form.packed->descriptor()
                             : memory::desc(problem.weight, form.type, memory::format_tag::any);
  memory::desc bias;
  if (is_present(request.inputs, kBias)) {
    bias = {{problem.y[1]}, *onednn_type(request.inputs[kBias].dtype), memory::format_tag::a};
  }
  BuiltPrimitive built;
  built.arguments = {
      {DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_BIAS, bias}, {DNNL_ARG_DST, y}};
  dnnl::primitive_attr attributes = user_scratchpad_attr();
  dnnl::post_ops post_ops;
  const Epilogue epilogue = first_items(problem.epilogue, form.fused);
  append_post_ops(epilogue, operands_of(request, form.type, 0, operand_count(epilogue)), post_ops,
                  built.arguments);
  attributes.set_post_ops(post_ops);
  const OnednnTeam team(base::thread_count());
  try {
    const auto kind = dnnl::prop_kind::forward_inference;
    const Problem& p = problem;
    if (p.transposed) {
      const dnnl::deconvolution_forward::primitive_desc descriptor(
          onednn_engine(), kind, dnnl::algorithm::deconvolution_direct, x, weights, bias, y,
          p.stride, p.dilation, p.padding_begin, p.padding_end, attributes);
      if (!built.take<dnnl::deconvolution_forward>(descriptor, form.allow_reference)) return {};
    } else {
      const dnnl::convolution_forward::primitive_desc descriptor(
          onednn_engine(), kind, dnnl::algorithm::convolution_direct, x, weights, bias, y, p.stride,
          p.dilation, p.padding_begin, p.padding_end, attributes);
      if (!built.take<dnnl::convolution_forward>(descriptor, form.allow_reference)) return {};
    }
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
  built.arguments[1].second = built.weights;
  return Convolution{std::move(built), form.fused};
}

// With all of the epilogue, else with what comes before its first operand.
std::optional<Convolution> try_build(const KernelRequest& request, const Problem& problem,
                                     memory::data_type type, const PackedLayout* packed) {
  const Epilogue& epilogue = problem.epilogue;
  auto built = try_build(request, problem, {type, packed, epilogue.size(), false});
  const auto binary =
      std::find_if(epilogue.begin(), epilogue.end(), [](const auto& i) { return i.is_binary(); });
  if (!built && binary != epilogue.end()) {
    const auto before = static_cast<size_t>(binary - epilogue.begin());
    built = try_build(request, problem, {type, packed, before, false});
  }
  return built;
}

// With weights as oneDNN likes: in the first type that it has an implementation for, else slowly.
std::optional<Convolution> try_build(const KernelRequest& request, const Problem& problem,
                                     std::initializer_list<memory::data_type> types) {
  for (const memory::data_type type : types) {
    if (auto built = try_build(request, problem, type, nullptr)) return built;
  }
  // Regraft's reference takes what has no epilogue.
  if (problem.epilogue.empty()) return std::nullopt;
  return try_build(request, problem,
                   {std::data(types)[types.size() - 1], nullptr, problem.epilogue.size(), true});
}

// bf16 where the machine has it, else f32.
std::optional<Convolution> try_build(const KernelRequest& request, const Problem& problem) {
  const std::optional<memory::data_type> type = onednn_type(request.inputs[kX].dtype);
  if (!type) unsupported(request, "x is ", name(request.inputs[kX].dtype));
  return try_build(request, problem, {*type, memory::data_type::f32});
}

class ConvolutionKernel final : public Kernel {
 public:
  // `pack`: the weight comes plain and is packed by every run. Where it comes packed otherwise than
  // the primitive wants it, every run reorders it.
  ConvolutionKernel(const KernelRequest& request, const Problem& problem, Convolution convolution,
                    const PackedLayout& layout, bool pack)
      : call_(convolution.primitive.primitive, convolution.primitive.arguments,
              convolution.primitive.scratchpad),
        implementation_(std::move(convolution.primitive.implementation)),
        fused_(operand_count(first_items(problem.epilogue, convolution.fused))) {
    const BuiltPrimitive& built = convolution.primitive;
    const DType type = layout.dtype();
    scratchpad_ = workspace_.add(call_.scratchpad_bytes());
    if (convolution.fused < problem.epilogue.size())
      add_late(request, problem, convolution.fused, type);
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
    call_.run(std::span(addresses).first(4 + fused_), Workspace::at(workspace, scratchpad_));
    if (late_) {
      late_.run(addresses[3], std::span(addresses).subspan(4 + fused_, count - 4 - fused_),
                Workspace::at(workspace, late_scratchpad_));
    }
    target_.finish(arguments.outputs[0], workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return implementation_; }

 private:
  void add_late(const KernelRequest& request, const Problem& problem, size_t first, DType dtype) {
    const auto type = *onednn_type(dtype);
    const Epilogue rest(problem.epilogue.begin() + static_cast<std::ptrdiff_t>(first),
                        problem.epilogue.end());
    try {
      late_ = LateEpilogue(rest, channels_last(problem.y, type),
                           operands_of(request, type, fused_, operand_count(rest)));
    } catch (const dnnl::error& error) {
      unsupported(request, "oneDNN does not apply ", rest[0].name, ": ", error.what());
    }
    late_scratchpad_ = workspace_.add(late_.scratchpad_bytes());
    implementation_ += ", " + rest[0].name;
  }

  OnednnCall call_;
  std::string implementation_;
  size_t fused_;  // How many operands `call_` takes; `late_` takes the others.
  LateEpilogue late_;
  Workspace workspace_;
  Workspace::Place scratchpad_, late_scratchpad_, packed_, reorder_scratchpad_;
  OnednnCall reorder_;
  std::optional<Packer> packer_;
  std::vector<Conversion> sources_;
  Conversion target_;
};

Packing choose_packing(const KernelRequest& request, size_t input) {
  if (input != kWeight) return plain_packing(request.inputs[input]);
  const Problem problem(request);
  const std::optional<Convolution> built = try_build(request, problem);
  if (!built) unsupported(request, "oneDNN has no implementation");
  const memory::desc& weights = built->primitive.weights;
  return PackedLayout(weights, problem.view, request.inputs[kWeight].dims).packing();
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
  std::optional<Convolution> built;
  if (layout) {
    const memory::data_type type = *onednn_type(layout->dtype());
    built = try_build(request, problem, type, &*layout);
    // oneDNN may have nothing for the engine's packing at these shapes.
    if (!built) built = try_build(request, problem, {type});
  } else {
    built = try_build(request, problem);
  }
  if (!built) unsupported(request, "oneDNN has no implementation");
  const bool pack = !layout.has_value();
  if (pack) layout.emplace(built->primitive.weights, problem.view, request.inputs[kWeight].dims);
  return std::make_unique<ConvolutionKernel>(request, problem, std::move(*built), *layout, pack);
}

constexpr KernelDef kKernels[] = {{"convolution", &prepare, &choose_packing}};

}  // namespace

extern const KernelFile k_kernels_convolution;
const KernelFile k_kernels_convolution = kKernels;

}  // namespace regraft::cpu
