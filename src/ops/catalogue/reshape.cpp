#include "ops/op.h"

namespace regraft::ops {
namespace {

void reshape(TypeContext& context) {
  const TensorType& x = context.in(0);
  SymDims dims = context.attributes().sizes("dims");
  const SymInt count = numel(x.dims);
  std::optional<size_t> inferred;
  SymInt rest = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == SymInt(-1)) {
      if (inferred) context.fail("at most one size can be -1, have ", to_string(dims));
      inferred = i;
    } else if (dims[i].is_constant() && dims[i].value() < 0) {
      context.fail("negative size in ", to_string(dims));
    } else {
      rest = rest * dims[i];
    }
  }
  const auto mismatch = [&] {
    context.fail("cannot make ", to_string(dims), " of ", to_string(x.dims));
  };
  if (inferred) {
    if (rest == SymInt(0)) mismatch();  // Any size would do.
    if (count.is_constant() && rest.is_constant() && count.value() % rest.value() != 0) mismatch();
    dims[*inferred] = floordiv(count, rest);
  } else if (count.is_constant() && rest.is_constant() && count != rest) {
    mismatch();
  }
  context.out(x.dtype, dims);
}

const OpDef kOps[] = {
    {"reshape", "(Tensor x, *, int[] dims) -> Tensor", reshape, kView},
};

}  // namespace

extern const OpFamily k_family_reshape;
const OpFamily k_family_reshape = kOps;

}  // namespace regraft::ops
