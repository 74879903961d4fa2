#include "ops/op.h"

namespace regraft::ops {
namespace {

void expand(TypeContext& context) {
  const TensorType& x = context.in(0);
  SymDims dims = context.attributes().sizes("dims");
  const auto fail = [&] {
    context.fail("cannot expand ", to_string(x.dims), " to ",
                 to_string(context.attributes().sizes("dims")));
  };
  if (dims.size() < x.rank()) fail();
  const size_t lead = dims.size() - x.rank();
  for (size_t i = 0; i < dims.size(); ++i) {
    SymInt& want = dims[i];
    if (want == SymInt(-1)) {
      if (i < lead) fail();
      want = x.dims[i - lead];
    } else if (want.is_constant() && want.value() < 0) {
      fail();
    } else if (i >= lead) {
      const SymInt& have = x.dims[i - lead];
      if (have.is_constant() && want.is_constant() && have != want && have != SymInt(1)) fail();
    }
  }
  context.out(x.dtype, dims);
}

const OpDef kOps[] = {
    {"expand", "(Tensor x, *, int[] dims) -> Tensor", expand, kView},
};

}  // namespace

extern const OpFamily k_family_expand;
const OpFamily k_family_expand = kOps;

}  // namespace regraft::ops
