#pragma once

#include <array>
#include <cstdint>

#include "backends/reference/run/kernel.h"
#include "tensor/copy.h"

// What kernels over planes and rows share: convolution, pooling, interpolation, normalisation.
namespace regraft::reference {

// Sizes, strides or positions along three spatial dimensions. Tensors with fewer have the leading
// ones filled with a neutral value.
using Triple = std::array<int64_t, 3>;

inline Triple triple(const Dims& last, int64_t neutral) {
  Triple out{neutral, neutral, neutral};
  for (size_t i = 0; i < last.size(); ++i)
    out[3 - last.size() + i] = last[i];
  return out;
}

inline Triple triple(const Call& call, std::string_view attribute, int64_t neutral) {
  return triple(call.attributes().integers(attribute), neutral);
}

// The last `spatial` sizes of `dims`.
inline Triple spatial_sizes(const Dims& dims, size_t spatial) {
  return triple(Dims(dims.end() - static_cast<ptrdiff_t>(spatial), dims.end()), 1);
}

inline int64_t product(const Triple& sizes) { return sizes[0] * sizes[1] * sizes[2]; }

// Calls f(index, position) for every position of a box of `sizes`, in row-major order.
template <typename F>
void for_each_position(const Triple& sizes, const F& f) {
  int64_t index = 0;
  Triple at;
  for (at[0] = 0; at[0] < sizes[0]; ++at[0]) {
    for (at[1] = 0; at[1] < sizes[1]; ++at[1]) {
      for (at[2] = 0; at[2] < sizes[2]; ++at[2])
        f(index++, at);
    }
  }
}

// A row-major copy in the dtype kernels calculate in.
inline Tensor copy_as(const TensorView& view, DType dtype) {
  Tensor out(dtype, view.dims);
  copy(view, out.mutable_view());
  return out;
}

// Type rules take symbolic sizes on trust; kernels check them.
inline void check_size(std::string_view op, std::string_view what, int64_t want, int64_t have) {
  if (want != have) {
    base::fail("engine", ErrorCode::InvalidArgument, op, ": ", what, ": want ", want, ", have ",
               have);
  }
}

// Fails unless x has elements along all of its last `spatial` dimensions.
inline void check_planes(std::string_view op, const TensorView& x, size_t spatial) {
  if (product(spatial_sizes(x.dims, spatial)) == 0) {
    base::fail("engine", ErrorCode::InvalidArgument, op, ": x: want non-empty planes, have ",
               to_string(x.dims));
  }
}

// The elements of input `i` as row-major f64; null data for an absent one.
inline Tensor doubles(const Call& call, size_t i) {
  return call.has(i) ? copy_as(call.in(i), DType::F64) : Tensor();
}

}  // namespace regraft::reference
