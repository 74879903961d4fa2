#include <algorithm>

#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

size_t axis_of(const TypeContext& context) {
  return context.dim(context.attributes().integer("dim"), context.in(0).rank());
}

// Sizes of `index` beside the axis may be smaller than those of `tensor`, not larger.
void check_fits(const TypeContext& context, std::string_view what, const SymDims& index,
                const SymDims& tensor, std::optional<size_t> axis) {
  bool fits = std::max<size_t>(index.size(), 1) == std::max<size_t>(tensor.size(), 1);
  for (size_t i = 0; fits && i < std::min(index.size(), tensor.size()); ++i) {
    if (i == axis || !index[i].is_constant() || !tensor[i].is_constant()) continue;
    fits = index[i].value() <= tensor[i].value();
  }
  // As in PyTorch, an empty index goes with any tensor.
  if (!fits && numel(index) != SymInt(0)) {
    context.fail("index ", to_string(index), " does not fit ", what, " ", to_string(tensor));
  }
}

void index_select(TypeContext& context) {
  const TensorType& x = context.in(0);
  const TensorType& index = context.in(1);
  const size_t axis = axis_of(context);
  check_index_dtype(context, "index", index.dtype);
  if (index.rank() > 1) context.fail("index: want rank 1, have ", index.str());
  SymDims dims = x.dims;
  const SymInt count = numel(index.dims);
  if (!dims.empty()) {
    dims[axis] = count;
  } else if (count.is_constant() && count.value() != 1) {
    context.fail("index: want one element for a 0-d tensor, have ", index.str());
  }
  context.out(x.dtype, dims);
}

void gather(TypeContext& context) {
  const TensorType& index = context.in(1);
  check_index_dtype(context, "index", index.dtype);
  check_fits(context, "tensor", index.dims, context.in(0).dims, axis_of(context));
  context.out(context.in(0).dtype, index.dims);
}

void scatter(TypeContext& context) {
  const TensorType& x = context.in(0);
  const TensorType& index = context.in(1);
  const std::string& reduce = context.attributes().text("reduce");
  constexpr std::string_view kReductions[] = {"none", "sum", "prod", "mean", "amax", "amin"};
  if (std::find(std::begin(kReductions), std::end(kReductions), reduce) == std::end(kReductions)) {
    context.fail("reduce: want none, sum, prod, mean, amax or amin, have \"", reduce, "\"");
  }
  check_index_dtype(context, "index", index.dtype);
  check_fits(context, "tensor", index.dims, x.dims, axis_of(context));
  if (context.has(2) == (given(context, "value") != nullptr)) {
    context.fail("want a source or a value");
  }
  if (context.has(2)) {
    const TensorType& source = context.in(2);
    if (source.dtype != x.dtype) {
      context.fail("source: want ", name(x.dtype), ", have ", name(source.dtype));
    }
    check_fits(context, "source", index.dims, source.dims, std::nullopt);
  }
  if (reduce != "none") check_computed(context, x.dtype);
  context.out(x);
}

const OpDef kOps[] = {
    {"index_select", "(Tensor x, Tensor index, *, int dim) -> Tensor", index_select, kMoves},
    {"gather", "(Tensor x, Tensor index, *, int dim) -> Tensor", gather, kMoves},
    // `include_self` is false where the old values take no part in a reduction.
    {"scatter",
     "(Tensor x, Tensor index, Tensor? source, *, int dim, Scalar? value=None,"
     " str reduce=\"none\", bool include_self=true) -> Tensor",
     scatter, kMoves},
};

}  // namespace

extern const OpFamily k_family_gather;
const OpFamily k_family_gather = kOps;

}  // namespace regraft::ops
