#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void diagonal(TypeContext& context) {
  const TensorType& x = context.in(0);
  const Attributes& attributes = context.attributes();
  if (x.rank() < 2) context.fail("want a tensor of rank 2 or more, have ", x.str());
  const int64_t offset = attributes.integer("offset");
  const auto axes =
      dims_of(context, {attributes.integer("dim1"), attributes.integer("dim2")}, x.rank());
  SymDims dims;
  for (size_t i = 0; i < x.rank(); ++i) {
    if (i != axes[0] && i != axes[1]) dims.push_back(x.dims[i]);
  }
  const SymInt rows = x.dims[axes[0]] - std::max<int64_t>(-offset, 0);
  const SymInt columns = x.dims[axes[1]] - std::max<int64_t>(offset, 0);
  const SymInt length = min(rows, columns);
  // A size is never negative, so only an offset can leave nothing.
  dims.push_back(offset == 0 ? length : max(length, 0));
  context.out(x.dtype, dims);
}

void triangle(TypeContext& context) {
  if (context.in(0).rank() < 2) {
    context.fail("want a tensor of rank 2 or more, have ", context.in(0).str());
  }
  context.out(context.in(0));
}

const OpDef kOps[] = {
    {"diagonal", "(Tensor x, *, int offset=0, int dim1=0, int dim2=1) -> Tensor", diagonal, kView},
    {"triu", "(Tensor x, *, int diagonal=0) -> Tensor", triangle, kMoves},
    {"tril", "(Tensor x, *, int diagonal=0) -> Tensor", triangle, kMoves},
};

}  // namespace

extern const OpFamily k_family_diagonal;
const OpFamily k_family_diagonal = kOps;

}  // namespace regraft::ops
