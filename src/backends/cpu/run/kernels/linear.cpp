#include "backends/cpu/run/empty_sum.h"
#include "backends/cpu/run/gemm.h"
#include "backends/cpu/run/gemv.h"
#include "backends/cpu/run/kernel.h"

namespace regraft::cpu {
namespace {

// x [..., depth], weight [columns, depth], bias [columns] and the epilogue's operands, of the
// result's dims or [columns].
constexpr GemmInputs kInputs{0, 1, 2, 3};

GemmProblem problem_of(const KernelRequest& request) {
  GemmProblem problem;
  const Operand& weight = request.inputs[1];
  const DType type = request.inputs[0].dtype;
  if (!onednn_type(type)) unsupported(request, "x is ", name(type));
  // Rows of all operands in the order in which those of x lie.
  const std::vector<size_t> order = row_order(request.inputs[0]);
  problem.x = rows_of(request.inputs[0], order);
  problem.out = rows_of(request.outputs[0], order);
  // A plain weight is read where it lies when one of its dimensions is dense.
  problem.weight.operand = &weight;
  const bool dense = weight.strides[0] == 1 || weight.strides[1] == 1;
  problem.weight.lies = dense ? weight.strides : contiguous_strides(weight.dims);
  problem.weight.view = {{weight.dims[1], weight.dims[0]},
                         {problem.weight.lies[1], problem.weight.lies[0]}};
  problem.weight_view.order = {1, 0};
  if (is_present(request.inputs, 2)) problem.bias = &request.inputs[2];
  problem.epilogue = epilogue_of(request);
  for (size_t i = kInputs.first_operand; i < request.inputs.size(); ++i) {
    const Operand& operand = request.inputs[i];
    const bool is_full = operand.dims == request.outputs[0].dims;
    GemmProblem::Side side = rows_of(operand, is_full ? order : row_order(operand));
    if (is_full && side.view.strides != problem.out.view.strides) {
      // oneDNN walks operands as the result.
      side.lies = problem.out.lies;
      side.view = problem.out.view;
    }
    problem.operands.push_back(std::move(side));
  }
  return problem;
}

Packing choose_packing(const KernelRequest& request, size_t input) {
  const GemmProblem problem = problem_of(request);
  if (input == 1 && problem.rows() > kGemvRows) {
    const auto layout = choose_gemm_packing(problem, request.inputs[0].dtype);
    if (layout) return layout->packing();
  }
  return plain_packing(request.inputs[input]);
}

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  if (is_empty(request.outputs[0])) return std::make_unique<NoKernel>();
  const GemmProblem problem = problem_of(request);
  GemmInputs inputs = kInputs;
  if (problem.bias == nullptr) inputs.bias.reset();
  if (auto kernel = make_empty_sum(problem, inputs)) return kernel;
  if (auto kernel = make_gemv(problem, inputs)) return kernel;
  if (auto kernel = make_gemm(problem, inputs)) return kernel;
  unsupported(request, "oneDNN has no implementation");
}

constexpr KernelDef kKernels[] = {{"linear", &prepare, &choose_packing}};

}  // namespace

extern const KernelFile k_kernels_linear;
const KernelFile k_kernels_linear = kKernels;

}  // namespace regraft::cpu
