#pragma once

#include <string_view>

#include "ops/type_rules.h"

// Checks shared by the type rules of layers: convolution, pooling, normalisation, interpolation.
// They look at constants; a size that is still symbolic is taken to fit.
namespace regraft::ops {

inline bool can_equal(const SymInt& a, const SymInt& b) {
  const SymInt difference = a - b;
  return !difference.is_constant() || difference.value() == 0;
}

inline bool is_below(const SymInt& size, int64_t minimum) {
  return size.is_constant() && size.value() < minimum;
}

// The size that both are; the constant where one is symbolic.
inline SymInt same_size(const TypeContext& context, const SymInt& want, const SymInt& have,
                        std::string_view what) {
  if (!can_equal(want, have)) context.fail(what, ": want ", want.str(), ", have ", have.str());
  return want.is_constant() ? want : have;
}

// Fails unless input `input` is absent or has the dtype of input 0.
inline void check_same_dtype(const TypeContext& context, size_t input, std::string_view name) {
  const DType want = context.in(0).dtype;
  if (context.has(input) && context.in(input).dtype != want) {
    context.fail(name, ": want ", regraft::name(want), ", have ",
                 regraft::name(context.in(input).dtype));
  }
}

// Fails unless input `input` is absent or a vector of `size` in the dtype of input 0 or in f32,
// which PyTorch lets accompany 16-bit activations.
inline void check_channel_vector(const TypeContext& context, size_t input, const SymInt& size,
                                 std::string_view name) {
  if (!context.has(input)) return;
  const TensorType& type = context.in(input);
  if (type.rank() != 1 || !can_equal(type.dims[0], size)) {
    context.fail(name, ": want [", size.str(), "], have ", to_string(type.dims));
  }
  const bool is_half = item_size(context.in(0).dtype) == 2;
  if (!(is_half && type.dtype == DType::F32)) check_same_dtype(context, input, name);
}

// The list attribute `name` with one entry per spatial dimension, none below `minimum`.
inline const SymDims& spatial_list(const TypeContext& context, std::string_view name, size_t count,
                                   int64_t minimum) {
  const SymDims& list = context.attributes().sizes(name);
  if (list.size() != count) {
    context.fail(name, ": want one entry for each of ", count, " spatial dimensions, have ",
                 to_string(list));
  }
  for (const SymInt& entry : list) {
    if (is_below(entry, minimum)) {
      context.fail(name, ": want at least ", minimum, ", have ", to_string(list));
    }
  }
  return list;
}

// Checks that `x` has `spatial` dimensions after the channels, and a batch unless `unbatched`
// tensors are allowed too. Returns the index of the first spatial dimension.
inline size_t spatial_begin(const TypeContext& context, const TensorType& x, size_t spatial,
                            bool unbatched) {
  if (spatial < 1 || spatial > 3) context.fail("want 1 to 3 spatial dimensions, have ", spatial);
  if (x.rank() == spatial + 2 || (unbatched && x.rank() == spatial + 1)) return x.rank() - spatial;
  context.fail("x: want rank ", spatial + 2, ", have ", x.str());
}

inline SymInt effective_kernel(const SymInt& kernel, const SymInt& dilation) {
  return dilation * (kernel - SymInt(1)) + SymInt(1);
}

// Number of positions of a window. Fails where the window is larger than the padded size.
inline SymInt window_count(const TypeContext& context, const SymInt& size, const SymInt& window,
                           const SymInt& stride, const SymInt& padding) {
  const SymInt span = size + padding * 2 - window;
  if (is_below(span, 0)) {
    context.fail("a window of ", window.str(), " does not fit into size ", size.str(),
                 " with padding ", padding.str());
  }
  return floordiv(span, stride) + SymInt(1);
}

// Sizes after pooling, with PyTorch's rule for ceil_mode: a last, partial window counts if it
// begins inside the input or its left padding. Also checks that a window cannot lie in the padding.
SymDims pooled_dims(const TypeContext& context, const SymDims& dims, size_t begin,
                    const SymDims& dilation);

}  // namespace regraft::ops
