#include <algorithm>

#include "backends/cpu/run/empty_sum.h"
#include "backends/cpu/run/gemm.h"
#include "backends/cpu/run/gemv.h"
#include "backends/cpu/run/kernel.h"

namespace regraft::cpu {
namespace {

// x and y as torch.matmul takes them, then the epilogue's operands, of the result's dims.
constexpr GemmInputs kInputs{0, 1, std::nullopt, 2};

// Whether matrices of these strides can be read as they lie: one of the last two dimensions dense,
// the other not overlapping.
bool is_readable(const Operand& operand) {
  const size_t rank = operand.dims.size();
  const auto dense = [&](size_t d, size_t other) {
    return (operand.strides[d] == 1 || operand.dims[d] == 1) &&
           (operand.dims[other] == 1 || operand.strides[other] >= operand.dims[d]);
  };
  return dense(rank - 1, rank - 2) || dense(rank - 2, rank - 1);
}

// An operand of at least two dimensions as matrices of `rank` dimensions.
GemmProblem::Side matrices(const Operand& operand, size_t rank, bool as_it_lies) {
  GemmProblem::Side side;
  side.operand = &operand;
  side.lies =
      as_it_lies && is_readable(operand) ? operand.strides : contiguous_strides(operand.dims);
  side.view.dims.assign(rank - operand.dims.size(), 1);
  side.view.dims.insert(side.view.dims.end(), operand.dims.begin(), operand.dims.end());
  side.view.strides.assign(rank - operand.dims.size(), 0);
  side.view.strides.insert(side.view.strides.end(), side.lies.begin(), side.lies.end());
  for (size_t d = 0; d < rank; ++d) {
    // An expanded dimension broadcasts.
    if (d + 2 < rank && side.view.strides[d] == 0) side.view.dims[d] = 1;
  }
  // Strides of sizes of 1 mean nothing, but oneDNN looks at them.
  int64_t span = 1;
  for (size_t d = 0; d < rank; ++d) {
    if (side.view.dims[d] != 1) span = std::max(span, side.view.dims[d] * side.view.strides[d]);
  }
  for (size_t d = 0; d < rank; ++d) {
    if (side.view.dims[d] != 1) continue;
    side.view.strides[d] = span;
    if (d + 1 == rank) side.view.strides[d] = 1;
  }
  return side;
}

// Vectors become matrices of one row or column.
Operand as_matrix(const Operand& operand, bool is_row) {
  if (operand.dims.size() > 1) return operand;
  Operand out = operand;
  const auto at = is_row ? 0 : 1;
  out.dims.insert(out.dims.begin() + at, 1);
  out.strides.insert(out.strides.begin() + at, is_row ? operand.dims[0] * operand.strides[0] : 1);
  return out;
}

struct Request {
  Operand x, y, out;
  std::vector<Operand> operands;
};

Request normalised(const KernelRequest& request) {
  Request out{as_matrix(request.inputs[0], true),
              as_matrix(request.inputs[1], false),
              request.outputs[0],
              {request.inputs.begin() + 2, request.inputs.end()}};
  const auto add_size = [&](size_t from_end) {
    for (Operand* operand : {&out.out}) {
      const auto at = static_cast<std::ptrdiff_t>(operand->dims.size() - from_end);
      operand->strides.insert(operand->strides.begin() + at, 1);
      operand->dims.insert(operand->dims.begin() + at, 1);
    }
  };
  if (request.inputs[1].dims.size() == 1) add_size(0);
  if (request.inputs[0].dims.size() == 1) add_size(1);
  for (Operand& operand : out.operands) {
    if (operand.dims == request.outputs[0].dims) operand.dims = out.out.dims;
    if (operand.dims != out.out.dims || operand.strides.size() != out.out.strides.size()) {
      unsupported(request, "operands of the epilogue must have the result's dims");
    }
  }
  return out;
}

// A weight shared by all matrices of x: their rows are one long matrix.
bool is_flat(const Request& r) { return r.y.dims.size() == 2; }

GemmProblem problem_of(const KernelRequest& request, const Request& r, bool as_it_lies) {
  if (!onednn_type(r.x.dtype)) unsupported(request, "x is ", name(r.x.dtype));
  GemmProblem problem;
  problem.epilogue = epilogue_of(request);
  problem.weight_view = WeightView::identity(2);
  const size_t rank = is_flat(r) ? 2 : r.out.dims.size();
  const std::vector<size_t> order = row_order(r.x);
  problem.x = is_flat(r) ? rows_of(r.x, order) : matrices(r.x, rank, as_it_lies);
  problem.out = is_flat(r) ? rows_of(r.out, order) : matrices(r.out, rank, as_it_lies);
  problem.weight = matrices(r.y, rank, as_it_lies);
  for (const Operand& operand : r.operands) {
    problem.operands.push_back({&operand, problem.out.lies, problem.out.view});
  }
  return problem;
}

Packing choose_packing(const KernelRequest& request, size_t input) {
  const Request r = normalised(request);
  if (input == 1 && is_flat(r) && request.inputs[1].dims.size() == 2) {
    const GemmProblem problem = problem_of(request, r, true);
    const auto layout = choose_gemm_packing(problem, r.x.dtype);
    if (layout) return layout->packing();
  }
  return plain_packing(request.inputs[input]);
}

std::unique_ptr<Kernel> prepare(const KernelRequest& request) {
  if (is_empty(request.outputs[0])) return std::make_unique<NoKernel>();
  const Request r = normalised(request);
  for (const bool as_it_lies : {true, false}) {
    const GemmProblem problem = problem_of(request, r, as_it_lies);
    if (auto kernel = make_empty_sum(problem, kInputs)) return kernel;
    if (auto kernel = make_gemv(problem, kInputs)) return kernel;
    if (auto kernel = make_gemm(problem, kInputs)) return kernel;
  }
  unsupported(request, "oneDNN has no implementation");
}

constexpr KernelDef kKernels[] = {{"matmul", &prepare, &choose_packing}};

}  // namespace

extern const KernelFile k_kernels_matmul;
const KernelFile k_kernels_matmul = kKernels;

}  // namespace regraft::cpu
