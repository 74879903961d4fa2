#include "ops/op.h"

namespace regraft::ops {
namespace {

// The strides are those of the row-major input.
void as_strided(TypeContext& context) {
  const Attributes& attributes = context.attributes();
  const SymDims& dims = attributes.sizes("dims");
  const SymDims& strides = attributes.sizes("strides");
  if (dims.size() != strides.size()) {
    context.fail("want one stride per size, have ", to_string(dims), " and ", to_string(strides));
  }
  SymInt last = attributes.size("offset");
  bool empty = false, constant = last.is_constant();
  if (constant && last.value() < 0) context.fail("negative offset ", last.value());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!dims[i].is_constant() || !strides[i].is_constant()) {
      constant = false;
      continue;
    }
    if (dims[i].value() < 0 || strides[i].value() < 0) {
      context.fail("negative size or stride in ", to_string(dims), ", ", to_string(strides));
    }
    empty = empty || dims[i].value() == 0;
    last = last + (dims[i] - 1) * strides[i];
  }
  const SymInt count = numel(context.in(0).dims);
  if (constant && !empty && count.is_constant() && last.value() >= count.value()) {
    context.fail("element ", last.value(), " is outside a tensor of ", count.value());
  }
  context.out(context.in(0).dtype, dims);
}

const OpDef kOps[] = {
    {"as_strided", "(Tensor x, *, int[] dims, int[] strides, int offset=0) -> Tensor", as_strided,
     kView},
};

}  // namespace

extern const OpFamily k_family_as_strided;
const OpFamily k_family_as_strided = kOps;

}  // namespace regraft::ops
