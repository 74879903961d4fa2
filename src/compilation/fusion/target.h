#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include "ir/graph.h"
#include "regraft/tensor.h"

namespace regraft::compilation {

// What the fusing passes must know of the backend they work for. Its fused nodes are opaque and
// called "<backend>.<op>".
struct FusionTarget {
  std::string_view backend;
  // Types of the operands of products (convolution, linear, matmul) that take an epilogue.
  std::span<const DType> product_types;
  // Products add an f32 bias to 16-bit results.
  bool adds_f32_bias = false;
  // Linears of 16-bit operands may have results, and then biases, in f32.
  bool widens_linears = false;
  // Products are slow where rows of their results are no multiple of so many bytes.
  int64_t row_bytes = 1;
  // group_norm takes an epilogue without operands, too.
  bool fuses_norms = false;
  // Ops of the catalogue that the backend has kernels for; the others are "reference.*" steps.
  std::span<const std::string_view> kernels;
  // The backend has kernels for all of them.
  bool has_all_kernels = false;

  std::string fused(std::string_view op) const {
    return std::string(backend) + "." + std::string(op);
  }
  bool is_fused(const ir::Node& node, std::string_view op) const {
    const std::string_view name = node.op().name;
    return name.size() == backend.size() + 1 + op.size() && name.starts_with(backend) &&
           name.ends_with(op) && name[backend.size()] == '.';
  }
  bool is_product_type(DType dtype) const {
    return std::find(product_types.begin(), product_types.end(), dtype) != product_types.end();
  }
};

}  // namespace regraft::compilation
