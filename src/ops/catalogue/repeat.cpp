#include "ops/op.h"

namespace regraft::ops {
namespace {

void repeat(TypeContext& context) {
  const TensorType& x = context.in(0);
  SymDims dims = context.attributes().sizes("repeats");
  if (dims.size() < x.rank()) {
    context.fail("want at least ", x.rank(), " repeats, have ", to_string(dims));
  }
  for (const SymInt& times : dims) {
    if (times.is_constant() && times.value() < 0)
      context.fail("negative count in ", to_string(dims));
  }
  const size_t lead = dims.size() - x.rank();
  for (size_t i = 0; i < x.rank(); ++i)
    dims[lead + i] = dims[lead + i] * x.dims[i];
  context.out(x.dtype, dims);
}

void repeat_interleave(TypeContext& context) {
  const TensorType& x = context.in(0);
  const SymInt& times = context.attributes().size("repeats");
  if (times.is_constant() && times.value() < 0) context.fail("negative count ", times.value());
  SymDims dims = x.dims;
  if (context.attributes().is_none("dim")) {
    dims = {numel(dims) * times};
  } else {
    const size_t dim = context.dim(context.attributes().integer("dim"), x.rank());
    if (dims.empty()) context.fail("a 0-d tensor has no axis to repeat");
    dims[dim] = dims[dim] * times;
  }
  context.out(x.dtype, dims);
}

void roll(TypeContext& context) {
  const TensorType& x = context.in(0);
  const size_t shifts = context.attributes().sizes("shifts").size();
  const Dims dims = context.attributes().integers("dims");
  if (dims.empty() ? shifts != 1 : shifts != dims.size()) {
    context.fail("want one shift per dim, or one shift and no dims");
  }
  for (const int64_t dim : dims)
    context.dim(dim, x.rank());
  context.out(x);
}

const OpDef kOps[] = {
    {"repeat", "(Tensor x, *, int[] repeats) -> Tensor", repeat, kView},
    {"repeat_interleave", "(Tensor x, *, int repeats, int? dim=None) -> Tensor", repeat_interleave,
     kView},
    {"roll", "(Tensor x, *, int[] shifts, int[] dims=[]) -> Tensor", roll, kView},
};

}  // namespace

extern const OpFamily k_family_repeat;
const OpFamily k_family_repeat = kOps;

}  // namespace regraft::ops
