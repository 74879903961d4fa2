#pragma once

#include <optional>
#include <string_view>

#include "ops/op.h"
#include "tensor/promotion.h"

// What type rules of several catalogue files share.
namespace regraft::ops {

// Attribute `name`, or null where it is None.
const Attribute* given(const TypeContext& context, std::string_view name);
std::optional<DType> optional_dtype(const TypeContext& context, std::string_view name = "dtype");

// Promoted dtype and broadcast dims of the operands of a pointwise op: every present input and the
// Scalar attributes `scalars`.
TensorType pointwise_type(const TypeContext& context,
                          std::initializer_list<std::string_view> scalars);

// `dims` of a tensor of `rank`, non-negative, in the order given; fails on repetition.
std::vector<size_t> dims_of(const TypeContext& context, const Dims& dims, size_t rank);
// The dims that a reduction's `dims` attribute names: all of them for None and for the empty list.
std::vector<bool> reduced_dims(const TypeContext& context, size_t rank);
// Dims after a reduction over the marked ones.
SymDims reduce(const SymDims& dims, const std::vector<bool>& reduced, bool keepdim);

// Size of in[start:end:step] along an axis of `size`. Bounds count from the end where negative and
// are clamped to the axis, as in Python. Where either is symbolic, a bound is taken to lie inside
// the axis unless it is a constant end, which gives min(end, size); kernels check.
SymInt slice_size(const TypeContext& context, const SymInt& size, const SymInt& start,
                  const SymInt& end, const SymInt& step);

// Fails unless the constant sizes among `want` and `have` agree; symbolic ones are taken on trust.
void check_same_dims(const TypeContext& context, std::string_view what, const SymDims& want,
                     const SymDims& have);
void check_index_dtype(const TypeContext& context, std::string_view what, DType dtype);
void check_not_bool(const TypeContext& context, DType dtype);
void check_not_complex(const TypeContext& context, DType dtype);
// Fails with Unsupported for dtypes that are only stored.
void check_computed(const TypeContext& context, DType dtype);
void check_floating(const TypeContext& context, DType dtype);

}  // namespace regraft::ops
