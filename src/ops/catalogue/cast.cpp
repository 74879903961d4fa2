#include "ops/op.h"

namespace regraft::ops {
namespace {

void cast(TypeContext& context) {
  context.out(context.attributes().dtype("dtype"), context.in(0).dims);
}

const OpDef kOps[] = {
    {"cast", "(Tensor x, *, dtype dtype) -> Tensor", cast, kPointwise | kMoves},
};

}  // namespace

extern const OpFamily k_family_cast;
const OpFamily k_family_cast = kOps;

}  // namespace regraft::ops
