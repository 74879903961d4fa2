#include <algorithm>
#include <numeric>

#include "backends/cuda/run/channels_last.h"
#include "backends/cuda/run/cudnn_convolution.h"
#include "backends/cuda/run/epilogue.h"
#include "backends/cuda/run/packing.h"
#include "backends/cuda/run/patch_convolution.h"
#include "backends/cuda/run/pointwise.h"
#include "backends/cuda/run/spatial.h"
#include "backends/cuda/run/tf32.h"
#include "backends/cuda/run/tuner.h"

namespace regraft::cuda {
namespace {

// x, weight, bias and the epilogue's operands; attributes as the convolution op, and `epilogue`.
constexpr size_t kX = 0, kWeight = 1, kBias = 2, kFirstOperand = 3;

Dims channels_last_strides(const Dims& dims) {
  return strides_of(dims, channels_last(dims.size()));
}

// Groups of one channel each.
bool is_depthwise(const KernelRequest& request) {
  const Dims& weight = request.inputs[kWeight].dims;
  return !request.attributes.flag("transposed") && weight[1] == 1 && weight[0] > 1 &&
         request.attributes.integer("groups") > 1;
}

// Tensor cores want whole vectors of channels; images of colours have three.
bool pads_channels(const KernelRequest& request) {
  const Operand &x = request.inputs[kX], &weight = request.inputs[kWeight];
  return is_floating(x.dtype) && item_size(x.dtype) == 2 && weight.dtype == x.dtype &&
         x.dims.size() == 4 && x.dims[1] < kPaddedChannels && weight.dims[1] == x.dims[1] &&
         !request.attributes.flag("transposed");
}

// Whether elements lie as with the other strides: those along sizes of 1 mean nothing.
bool lies_as(const LaunchOperand& operand, const Dims& strides) {
  for (size_t d = 0; d < strides.size(); ++d) {
    if (operand.dims[d] != 1 && operand.strides[d] != strides[d]) return false;
  }
  return true;
}

LaunchOperand weight_of(const KernelRequest& request) {
  LaunchOperand weight = input_of(request, kWeight);
  const Operand& operand = request.inputs[kWeight];
  if (operand.is_constant && !operand.packing.is_plain()) {
    weight.strides = packed_strides(operand.packing, operand.dims, operand.dtype);
  }
  return weight;
}

std::optional<LaunchOperand> bias_of(const KernelRequest& request) {
  if (!is_present(request.inputs, kBias)) return std::nullopt;
  LaunchOperand bias = input_of(request, kBias);
  const Dims& dims = request.outputs[0].dims;
  const int64_t stride = bias.strides[0];
  bias.dims = dims;
  bias.strides.assign(dims.size(), 0);
  bias.strides[1] = stride;
  return bias;
}

// cuDNN's dims have two spatial dimensions at least.
CudnnTensor tensor_of(const LaunchOperand& operand) {
  CudnnTensor t{operand.dtype, operand.dims, operand.strides, operand.alignment};
  if (t.dims.size() == 3) {
    t.dims.insert(t.dims.begin() + 2, 1);
    t.strides.insert(t.strides.begin() + 2, t.strides[2] * t.dims[3]);
  }
  return t;
}

class Convolution final : public Kernel {
 public:
  // Throws Error{Unsupported} where cuDNN has no plan.
  Convolution(CudaDevice& device, const KernelRequest& request) {
    x_ = input_of(request, kX);
    weight_ = weight_of(request);
    if (pads_channels(request)) {
      pad_channels(device, request);
    } else {
      x_ = brought(device, x_);
      weight_ = brought(device, weight_);
    }
    const LaunchOperand out = output_of(request, 0);
    const Dims wanted = channels_last_strides(out.dims);
    Epilogue items = epilogue_of(request);
    if (!lies_as(out, wanted) || !build_fused(device, request, items, wanted)) {
      build_plain(device, request, items, out, wanted);
    }
    workspace_ += plan_->workspace_bytes();
  }

  void run(const KernelArguments& arguments) const override {
    for (const Launch& copy : copies_)
      copy.run(arguments);
    convolve(*plan_, arguments);
    epilogue_.run(arguments);
  }
  size_t workspace_bytes() const override { return workspace_; }
  std::string tactic() const override {
    return plan_->tactic() + (has_epilogue_ ? "+pointwise" : "");
  }

 private:
  void convolve(const CudnnConvolution& plan, const KernelArguments& arguments) const {
    plan.run(x_.place.in(arguments), weight_.place.in(arguments), y_.in(arguments),
             z_ ? z_->in(arguments) : nullptr, bias_ ? bias_->in(arguments) : nullptr,
             static_cast<std::byte*>(arguments.workspace) + workspace_offset_, arguments.stream);
  }

  // The plan that the tuner takes; none where cuDNN has none. All places are known.
  void choose(CudaDevice& device, const KernelRequest& request, const CudnnProblem& problem) {
    constexpr size_t kMostPlans = 8;
    workspace_offset_ = workspace_;
    const std::string name = text(problem);
    Tuner& tuner = tuner_of(device);
    if (const auto known = tuner.known(request, name, "cudnn:")) {
      auto plans = CudnnConvolution::make(device, problem, 1, *known);
      if (!plans.empty()) plan_ = std::move(plans.front());
      if (plan_) return;
    }
    const bool times = Tuner::may_time(request);
    auto plans = CudnnConvolution::make(device, problem, times ? kMostPlans : 1);
    if (plans.empty()) return;
    std::vector<Candidate> candidates;
    for (const auto& plan : plans) {
      candidates.push_back(
          {plan->tactic(), workspace_offset_ + plan->workspace_bytes(),
           [this, &plan](const KernelArguments& arguments) { convolve(*plan, arguments); }});
    }
    const size_t taken = plans.size() > 1 ? tuner.fastest(request, name, candidates) : 0;
    plan_ = std::move(plans[taken]);
  }

  void pad_channels(CudaDevice& device, const KernelRequest& request) {
    std::vector<ChannelPadding> paddings;
    const auto pad = [&](LaunchOperand& operand) {
      const LaunchOperand from = operand;
      operand.dims[1] = kPaddedChannels;
      operand.strides = channels_last_strides(operand.dims);
      operand.place = Place::workspace(reserve(operand));
      operand.alignment = 16;
      paddings.push_back({from, operand.place});
    };
    pad(x_);
    if (is_padded_constant(request)) {
      weight_.dims[1] = kPaddedChannels;
    } else {
      pad(weight_);
    }
    copies_.push_back(make_pad_channels(device, paddings));
  }

  static bool is_padded_constant(const KernelRequest& request) {
    const Operand& weight = request.inputs[kWeight];
    return weight.is_constant && packed_dims(weight.packing, weight.dims) != weight.dims;
  }

  // The operand with channels last: itself, or a copy in the workspace.
  LaunchOperand brought(CudaDevice& device, LaunchOperand operand) {
    const Dims strides = channels_last_strides(operand.dims);
    if (!lies_as(operand, strides)) {
      LaunchOperand copy = operand;
      copy.place = Place::workspace(reserve(operand));
      copy.strides = strides;
      copies_.push_back(make_copy(device, operand, copy));
      operand = copy;
    }
    operand.strides = strides;
    return operand;
  }

  size_t reserve(const LaunchOperand& operand) {
    const size_t at = workspace_;
    workspace_ += rounded(static_cast<size_t>(numel(operand.dims)) * item_size(operand.dtype));
    return at;
  }

  CudnnProblem problem_of(const KernelRequest& request, const Dims& y_strides) const {
    const Attributes& attributes = request.attributes;
    CudnnProblem problem;
    problem.x = tensor_of(x_);
    problem.w = tensor_of(weight_);
    LaunchOperand y = output_of(request, 0);
    y.strides = y_strides;
    problem.y = tensor_of(y);
    problem.transposed = attributes.flag("transposed");
    problem.tf32 = allows_tf32(request);
    problem.stride = attributes.integers("stride");
    problem.padding = attributes.integers("padding");
    problem.dilation = attributes.integers("dilation");
    for (Dims* dims : {&problem.stride, &problem.dilation}) {
      if (dims->size() == 1) dims->insert(dims->begin(), 1);
    }
    if (problem.padding.size() == 1) problem.padding.insert(problem.padding.begin(), 0);
    problem.padding_end = problem.padding;
    if (problem.transposed) {
      // What the output has beyond the padding comes off the padding behind.
      for (size_t i = 0; i < problem.padding.size(); ++i) {
        const int64_t reach = (problem.x.dims[2 + i] - 1) * problem.stride[i] +
                              (problem.w.dims[2 + i] - 1) * problem.dilation[i] + 1;
        problem.padding_end[i] = reach - problem.padding[i] - problem.y.dims[2 + i];
      }
    }
    return problem;
  }

  // Everything in one plan, or false with nothing built.
  bool build_fused(CudaDevice& device, const KernelRequest& request, const Epilogue& items,
                   const Dims& wanted) {
    CudnnProblem problem = problem_of(request, wanted);
    if (problem.transposed) return false;
    size_t at = 0, operand = kFirstOperand;
    if (at < items.size() && items[at].name == "add") {
      LaunchOperand z = input_of(request, operand);
      if (!lies_as(z, wanted) || z.dims != request.outputs[0].dims) return false;
      z.strides = wanted;
      problem.z = tensor_of(z);
      z_ = z.place;
      ++at;
    }
    if (at < items.size() && items[at].name == "relu") {
      problem.relu = true;
      ++at;
    }
    if (at == items.size()) {
      if (is_present(request.inputs, kBias)) {
        LaunchOperand bias = input_of(request, kBias);
        problem.bias = CudnnTensor{bias.dtype, Dims(problem.y.dims.size(), 1), {}, bias.alignment};
        problem.bias->dims[1] = bias.dims[0];
        problem.bias->strides = channels_last_strides(problem.bias->dims);
        bias_ = bias.place;
      }
      y_ = Place::output(0);
      choose(device, request, problem);
    }
    if (plan_) return true;
    z_ = std::nullopt;
    bias_ = std::nullopt;
    return false;
  }

  // The product alone, then bias and epilogue in a kernel of our own.
  void build_plain(CudaDevice& device, const KernelRequest& request, const Epilogue& items,
                   const LaunchOperand& out, const Dims& wanted) {
    LaunchOperand product = out;
    product.strides = wanted;
    if (!lies_as(out, wanted)) product.place = Place::workspace(reserve(out));
    y_ = product.place;
    choose(device, request, problem_of(request, wanted));
    if (!plan_) unsupported(request, "cuDNN has no plan");
    const std::optional<LaunchOperand> bias = bias_of(request);
    if (!bias && items.empty() && y_.kind == Place::Output) return;
    epilogue_ = make_epilogue(device, request, product, bias, items, kFirstOperand);
    has_epilogue_ = true;
  }

  LaunchOperand x_, weight_;
  Place y_;
  std::optional<Place> z_, bias_;
  std::vector<Launch> copies_;
  std::unique_ptr<CudnnConvolution> plan_;
  Launch epilogue_;
  bool has_epilogue_ = false;
  size_t workspace_ = 0, workspace_offset_ = 0;
};

// What cuDNN has no plan for, or a slow one: many groups.
std::unique_ptr<Kernel> direct(CudaDevice& device, const KernelRequest& request) {
  if (is_complex(request.outputs[0].dtype)) unsupported(request, "complex numbers");
  if (is_depthwise(request) && request.inputs[kX].dims.size() == 4) {
    if (auto launch = try_make_depthwise(device, request, weight_of(request))) {
      return make_kernel(std::move(*launch), "depthwise");
    }
  }
  std::vector<Launch> launches;
  launches.push_back(make_direct_convolution(device, request, weight_of(request),
                                             is_present(request.inputs, kBias)));
  const Epilogue items = epilogue_of(request);
  if (!items.empty()) {
    launches.push_back(
        make_epilogue(device, request, output_of(request, 0), std::nullopt, items, kFirstOperand));
  }
  return std::make_unique<LaunchKernel>(std::move(launches), "direct");
}

std::unique_ptr<Kernel> prepare(CudaDevice& device, const KernelRequest& request) {
  const Operand &x = request.inputs[kX], &weight = request.inputs[kWeight];
  if (is_empty(request.outputs[0])) return std::make_unique<NoKernel>();
  const DType dtype = request.outputs[0].dtype;
  const bool one_type =
      is_floating(dtype) && x.dtype == dtype && weight.dtype == dtype &&
      (!is_present(request.inputs, kBias) || request.inputs[kBias].dtype == dtype);
  const bool fits = x.dims.size() >= 3 && x.dims.size() <= 5 && !is_empty(x) && !is_empty(weight);
  if (one_type && fits && !is_depthwise(request)) {
    try {
      if (is_patch_convolution(request)) {
        if (auto kernel = try_make_patch_convolution(device, request)) return kernel;
      }
      return std::make_unique<Convolution>(device, request);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Unsupported) throw;
    }
  }
  return direct(device, request);
}

Packing choose_packing(const KernelRequest& request, size_t input) {
  const Operand& operand = request.inputs[input];
  const size_t rank = operand.dims.size();
  std::vector<size_t> order(rank);
  std::iota(order.begin(), order.end(), size_t{0});
  int64_t channels = 0;
  if (input == kWeight && is_floating(operand.dtype) && !is_patch_convolution(request)) {
    order = channels_last(rank);
    if (pads_channels(request) && !is_empty(operand)) channels = kPaddedChannels;
    // The channels of these are its outputs.
    if (is_depthwise(request)) std::rotate(order.begin(), order.begin() + 1, order.end());
  }
  return packing_of(operand, order, channels);
}

constexpr KernelDef kKernels[] = {{"convolution", prepare, choose_packing}};

}  // namespace

extern const KernelFile k_kernels_convolution;
const KernelFile k_kernels_convolution = kKernels;

}  // namespace regraft::cuda
