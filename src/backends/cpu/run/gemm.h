#pragma once

#include <optional>
#include <vector>

#include "backends/cpu/run/conversion.h"
#include "backends/cpu/run/epilogue.h"
#include "backends/cpu/run/onednn.h"
#include "backends/cpu/run/packed_layout.h"
#include "backends/cpu/run/packer.h"

namespace regraft::cpu {

// Dims and strides under which oneDNN sees an operand.
struct MatrixView {
  Dims dims, strides;
};

// One product as a oneDNN matmul: [batch...,] rows x depth times depth x columns, sizes of 1
// broadcast. `lies` are strides over the operand's own dims, in which the primitive finds it; where
// they differ from the operand's, it is converted.
struct GemmProblem {
  struct Side {
    const Operand* operand = nullptr;
    Dims lies;
    MatrixView view;
  };
  Side x, weight, out;
  std::vector<Side> operands;  // Of the epilogue.
  WeightView weight_view;      // A constant weight as [depth, columns].
  const Operand* bias = nullptr;
  Epilogue epilogue;

  int64_t rows() const { return out.view.dims[out.view.dims.size() - 2]; }
  int64_t depth() const { return x.view.dims.back(); }
  int64_t columns() const { return out.view.dims.back(); }
};

// The leading dimensions of an operand from the widest stride to the narrowest.
std::vector<size_t> row_order(const Operand& operand);
// An operand as one matrix whose rows are all positions of the leading dimensions, counted in
// `order`; as it lies where strides can say that, else as if it were dense.
GemmProblem::Side rows_of(const Operand& operand, const std::vector<size_t>& order);

// A primitive of `type`; weights as `packed` says, where they lie, or (want_packed) as oneDNN
// likes. Nothing when oneDNN has none or only its reference.
std::optional<BuiltPrimitive> try_build(const GemmProblem& problem, dnnl::memory::data_type type,
                                        const PackedLayout* packed, bool want_packed);

// Chooses the packing of a constant weight.
std::optional<PackedLayout> choose_gemm_packing(const GemmProblem& problem, DType type);

// The kernel for a problem; null when oneDNN has no good implementation. `type` is the dtype of the
// activations; without bf16 hardware it is computed in f32. Operand order of the kernel's step:
// `inputs` says which input is x, weight, bias (-1: none) and the first of the epilogue's.
struct GemmInputs {
  size_t x = 0, weight = 1;
  std::optional<size_t> bias;
  size_t first_operand = 2;
};
std::unique_ptr<Kernel> make_gemm(const GemmProblem& problem, const GemmInputs& inputs);

}  // namespace regraft::cpu
