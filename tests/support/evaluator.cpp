#include "support/evaluator.h"

#include <algorithm>

#include "backends/run_backend.h"
#include "base/fail.h"

namespace regraft::test {
namespace {

struct Slot {
  Tensor memory;
  MutableTensorView view;
};

Slot allocate(DType dtype, const Dims& dims, ResultLayout layout) {
  Slot slot;
  slot.memory = Tensor(dtype, dims);
  Dims strides = contiguous_strides(dims);
  if (layout == ResultLayout::Reversed) {
    strides = contiguous_strides(Dims(dims.rbegin(), dims.rend()));
    std::reverse(strides.begin(), strides.end());
  }
  slot.view = MutableTensorView(slot.memory.mutable_view().mutable_data(), dtype, dims, strides);
  return slot;
}

backends::Operand operand_of(const TensorView& view) {
  backends::Operand operand;
  operand.present = true;
  operand.dtype = view.dtype;
  operand.dims = view.dims;
  operand.strides = view.strides;
  return operand;
}

class Evaluator {
 public:
  Evaluator(const SymbolValues& sizes, ResultLayout layout) : sizes_(sizes), layout_(layout) {}

  void bind(const ir::Value* value, const TensorView& view) { views_[value] = view; }
  const TensorView& view(const ir::Value* value) const { return views_.at(value); }

  void run(const ir::Node& node) {
    plan::Step step;
    step.kernel = "reference." + node.op().name;
    step.attributes = node.attributes();
    backends::KernelRequest request{step, node.attributes().resolved(sizes_), {},
                                    {},   &backends::host_device(),           false};
    std::vector<const void*> inputs;
    std::vector<void*> outputs;
    for (const ir::Value* input : node.inputs()) {
      request.inputs.push_back(input != nullptr ? operand_of(view(input)) : backends::Operand{});
      inputs.push_back(input != nullptr ? view(input).data : nullptr);
    }
    for (const ir::Value* output : node.outputs()) {
      slots_.push_back(allocate(output->dtype(), eval(output->dims(), sizes_), layout_));
      bind(output, slots_.back().view);
      request.outputs.push_back(operand_of(view(output)));
      outputs.push_back(slots_.back().view.mutable_data());
    }
    const auto kernel = backends::run_backend(step.kernel).prepare(request);
    const Tensor workspace(DType::U8, {static_cast<int64_t>(kernel->workspace_bytes())});
    kernel->run({inputs, outputs, workspace.mutable_view().mutable_data()});
  }

 private:
  const SymbolValues& sizes_;
  ResultLayout layout_;
  std::vector<Slot> slots_;
  std::map<const ir::Value*, TensorView> views_;
};

}  // namespace

std::vector<Tensor> evaluate(const ir::Graph& graph, std::span<const TensorView> inputs,
                             const SymbolValues& sizes,
                             const std::map<std::string, TensorView>& parameters,
                             ResultLayout layout) {
  Evaluator evaluator(sizes, layout);
  for (size_t i = 0; i < graph.inputs().size(); ++i) {
    evaluator.bind(graph.inputs()[i], inputs[i]);
  }
  for (const ir::Graph::Parameter& parameter : graph.parameters()) {
    evaluator.bind(parameter.value, parameters.at(parameter.value->name()));
  }
  for (const auto& node : graph.nodes())
    evaluator.run(*node);
  std::vector<Tensor> outputs;
  for (const ir::Graph::Output& output : graph.outputs()) {
    outputs.push_back(Tensor::copy_of(evaluator.view(output.value)));
  }
  return outputs;
}

std::string device_problem(std::string_view backend) {
  try {
    backends::run_backend(backend).device("");
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace regraft::test
