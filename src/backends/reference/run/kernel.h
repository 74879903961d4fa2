#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/fail.h"
#include "base/parallel.h"
#include "regraft/tensor.h"
#include "tensor/attributes.h"
#include "tensor/convert.h"

namespace regraft::reference {

// One call of a reference kernel: operands of any strides, attributes complete and constant.
class Call {
 public:
  Call(std::span<const TensorView> inputs, std::span<const MutableTensorView> outputs,
       const Attributes& attributes)
      : inputs_(inputs), outputs_(outputs), attributes_(attributes) {}

  size_t input_count() const { return inputs_.size(); }
  size_t output_count() const { return outputs_.size(); }
  // Absent optional tensors have a null data pointer and no dims: has() tells.
  bool has(size_t i) const { return i < inputs_.size() && present(inputs_[i]); }
  const TensorView& in(size_t i) const { return inputs_[i]; }
  const MutableTensorView& out(size_t i) const { return outputs_[i]; }
  const Attributes& attributes() const { return attributes_; }

  // The view of an absent tensor.
  static TensorView absent() { return {nullptr, DType::Bool, {-1}, {0}}; }

 private:
  static bool present(const TensorView& view) { return view.dims.empty() || view.dims[0] >= 0; }
  std::span<const TensorView> inputs_;
  std::span<const MutableTensorView> outputs_;
  const Attributes& attributes_;
};

using KernelFunction = void (*)(const Call& call);

struct KernelDef {
  std::string_view name;
  KernelFunction run;
};

// The kernels of one file under kernels/: `extern const KernelFile k_kernels_<file>` each.
using KernelFile = std::span<const KernelDef>;

// The type kernels calculate in for elements of type T: double for floats, int64_t for integers and
// bool, complex<double> for complex.
template <typename T>
struct ComputeOf {
  using type = int64_t;
};
template <>
struct ComputeOf<float> {
  using type = double;
};
template <>
struct ComputeOf<double> {
  using type = double;
};
template <typename T>
  requires kIsNarrow<T>
struct ComputeOf<T> {
  using type = double;
};
template <typename T>
struct ComputeOf<std::complex<T>> {
  using type = std::complex<double>;
};
template <typename T>
using Compute = typename ComputeOf<T>::type;

// The offset in elements of flat row-major position `index` of a tensor of `dims` under `strides`.
inline int64_t offset_of(int64_t index, const Dims& dims, const Dims& strides) {
  int64_t offset = 0;
  for (size_t i = dims.size(); i-- > 0;) {
    offset += index % dims[i] * strides[i];
    index /= dims[i];
  }
  return offset;
}

// `dim` in [-rank, rank) made non-negative.
inline size_t axis_of(int64_t dim, size_t rank) {
  return static_cast<size_t>(dim < 0 ? dim + static_cast<int64_t>(rank > 0 ? rank : 1) : dim);
}

// Strides of `view` seen as a tensor of `dims`, which it broadcasts to: 0 along expanded sizes.
// Throws Error{"engine", InvalidArgument} where it does not.
Dims broadcast_strides(const TensorView& view, const Dims& dims);

// Element loads and stores converted to and from a compute type, for kernels whose cost does not
// matter: one switch per element.
template <typename C>
C load(const TensorView& view, int64_t offset) {
  return visit(view.dtype, [&](auto tag) { return convert<C>(view.as<decltype(tag)>()[offset]); });
}
template <typename C>
void store(const MutableTensorView& view, int64_t offset, C value) {
  visit(view.dtype, [&](auto tag) {
    view.as_mutable<decltype(tag)>()[offset] = convert<decltype(tag)>(value);
  });
}

}  // namespace regraft::reference
