#include "backends/cpu/run/empty_sum.h"

#include <algorithm>
#include <array>

#include "backends/cpu/run/row_epilogue.h"

namespace regraft::cpu {
namespace {

constexpr size_t kMaxOperands = std::tuple_size_v<RowEpilogue::Operands>;

// In dense f32; it is too rare to be fast.
class EmptySum final : public Kernel {
 public:
  EmptySum(const GemmProblem& problem, const GemmInputs& inputs)
      : inputs_(inputs), columns_(problem.columns()), count_(numel(problem.out.operand->dims)) {
    const auto dense = [&](const Operand& operand) {
      return Conversion::of_source(operand, DType::F32, contiguous_strides(operand.dims),
                                   workspace_);
    };
    if (problem.bias != nullptr) bias_ = dense(*problem.bias);
    for (const GemmProblem::Side& side : problem.operands) {
      operands_.push_back(dense(*side.operand));
      is_row_.push_back(numel(side.operand->dims) != count_);
    }
    const Operand& out = *problem.out.operand;
    out_ = Conversion::of_target(out, DType::F32, contiguous_strides(out.dims), workspace_);
    const std::vector<DType> types(operands_.size(), DType::F32);
    epilogue_ = RowEpilogue(problem.epilogue, types);
  }

  void run(const KernelArguments& arguments) const override {
    void* const workspace = arguments.workspace;
    const auto read = [&](const Conversion& from, size_t input) {
      return static_cast<const float*>(from.source(arguments.inputs[input], workspace));
    };
    const float* const bias = inputs_.bias ? read(bias_, *inputs_.bias) : nullptr;
    std::array<const float*, kMaxOperands> operands{};
    for (size_t i = 0; i < operands_.size(); ++i)
      operands[i] = read(operands_[i], inputs_.first_operand + i);
    auto* const out = static_cast<float*>(out_.target(arguments.outputs[0], workspace));
    for (int64_t at = 0; at < count_; at += columns_) {
      if (bias != nullptr) {
        std::copy_n(bias, columns_, out + at);
      } else {
        std::fill_n(out + at, columns_, 0.0f);
      }
      RowEpilogue::Operands row{};
      for (size_t i = 0; i < operands_.size(); ++i)
        row[i] = operands[i] + (is_row_[i] ? 0 : at);
      epilogue_.apply(out + at, columns_, row);
    }
    out_.finish(arguments.outputs[0], workspace);
  }
  size_t workspace_bytes() const override { return workspace_.bytes(); }
  std::string tactic() const override { return "empty_sum"; }

 private:
  GemmInputs inputs_;
  int64_t columns_, count_;
  Workspace workspace_;
  Conversion bias_, out_;
  std::vector<Conversion> operands_;
  std::vector<bool> is_row_;
  RowEpilogue epilogue_;
};

}  // namespace

std::unique_ptr<Kernel> make_empty_sum(const GemmProblem& problem, const GemmInputs& inputs) {
  const bool fits = problem.depth() == 0 && problem.operands.size() <= kMaxOperands;
  return fits ? std::make_unique<EmptySum>(problem, inputs) : nullptr;
}

}  // namespace regraft::cpu
