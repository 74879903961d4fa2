#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

SymDims sliced(TypeContext& context) {
  const Attributes& attributes = context.attributes();
  SymDims dims = context.in(0).dims;
  if (dims.empty()) context.fail("a 0-d tensor has no axis to slice");
  SymInt& size = dims[context.dim(attributes.integer("dim"), dims.size())];
  size = slice_size(context, size, attributes.size("start"), attributes.size("end"),
                    attributes.size("step"));
  return dims;
}

void slice(TypeContext& context) { context.out(context.in(0).dtype, sliced(context)); }

void slice_scatter(TypeContext& context) {
  const TensorType& source = context.in(1);
  check_same_dims(context, "source", sliced(context), source.dims);
  context.out(context.in(0));
}

const OpDef kOps[] = {
    {"slice",
     "(Tensor x, *, int dim=0, int start=0, int end=9223372036854775807, int step=1) -> Tensor",
     slice, kView},
    {"slice_scatter",
     "(Tensor x, Tensor source, *, int dim=0, int start=0, int end=9223372036854775807,"
     " int step=1) -> Tensor",
     slice_scatter, kMoves},
};

}  // namespace

extern const OpFamily k_family_slice;
const OpFamily k_family_slice = kOps;

}  // namespace regraft::ops
