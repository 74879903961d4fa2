#pragma once

#include <functional>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/reference/run/kernel.h"

// Row-wise access: kernels calculate on short rows of a compile-time compute type C (int64_t,
// double or std::complex<double>, see Compute<T>), so that one loop serves every dtype.
namespace regraft::reference {

// The longest row that the functions below hand to a kernel.
inline constexpr int64_t kRow = 512;

// `count` elements, `stride` apart, from element `offset` of `view` on.
template <typename C>
void load_row(const TensorView& view, int64_t offset, int64_t stride, int64_t count, C* to);
template <typename C>
void store_row(const C* from, const MutableTensorView& view, int64_t offset, int64_t stride,
               int64_t count);
// Replaces every value by what `dtype` makes of it.
template <typename C>
void round_row(C* values, int64_t count, DType dtype);

// Walks over a tensor of `dims` in row-major order, in parallel: calls row(offsets, steps, count)
// for pieces of at most kRow elements that lie equally spaced in every operand. `strides` has one
// entry per operand; offsets and steps are in elements.
using RowFunction =
    std::function<void(const int64_t* offsets, const int64_t* steps, int64_t count)>;
void for_each_row(const Dims& dims, std::vector<Dims> strides, const RowFunction& row);

// Calls body(offsets) for every position of a tensor of `dims`, in parallel; one offset per entry
// of `strides`. `work` is the rough number of elements one call touches.
using PositionFunction = std::function<void(const int64_t* offsets)>;
void for_each_position(const Dims& dims, const std::vector<Dims>& strides, int64_t work,
                       const PositionFunction& body);

// Drops sizes of 1 and merges neighbours that every operand walks evenly; at least one axis stays.
void collapse(Dims& dims, std::vector<Dims>& strides);

// An operand of map(): read as elements of `through`, the dtype in which the operation is defined.
struct Source {
  TensorView view;
  DType through;
};

// to[i] = f(sources...)[i], broadcast. f gets one row per source and writes `count` results.
template <typename Out, typename In>
using MapFunction = std::function<void(const In* const* rows, Out* out, int64_t count)>;
template <typename Out, typename In>
void map(const MutableTensorView& to, const std::vector<Source>& sources,
         const MapFunction<Out, In>& f);

// Tensor and number operands of a pointwise kernel and the dtype they promote to.
struct Operands {
  std::vector<Source> sources;  // Numbers are 0-d views.
  DType common = DType::F32;
  std::vector<Tensor> numbers;  // Memory of the numbers.
};
// Each entry: an input, or the Scalar attribute that stands for it where it is absent. Entries of
// which neither is given are left out. Every source is read through the common dtype.
Operands operands_of(const Call& call,
                     std::initializer_list<std::pair<size_t, std::string_view>> entries);
// A 0-d tensor of a bool, size or double.
Tensor number_tensor(const Attribute& scalar);

// Calls f(C{}) with the compute type of `dtype`.
template <typename F>
decltype(auto) visit_compute(DType dtype, F&& f) {
  if (is_complex(dtype)) return f(std::complex<double>{});
  if (is_floating(dtype)) return f(double{});
  return f(int64_t{});
}

}  // namespace regraft::reference
