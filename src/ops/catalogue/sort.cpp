#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

size_t axis_of(const TypeContext& context) {
  check_not_complex(context, context.in(0).dtype);
  return context.dim(context.attributes().integer("dim"), context.in(0).rank());
}

void sort(TypeContext& context) {
  axis_of(context);
  context.out(context.in(0));
  context.out(DType::I64, context.in(0).dims);
}

void topk(TypeContext& context) {
  SymDims dims = context.in(0).dims;
  const SymInt& k = context.attributes().size("k");
  const size_t axis = axis_of(context);
  const SymInt size = dims.empty() ? SymInt(1) : dims[axis];
  if (k.is_constant() && (k.value() < 0 || (size.is_constant() && k.value() > size.value()))) {
    context.fail("k: want at most ", size.str(), ", have ", k.str());
  }
  if (!dims.empty()) dims[axis] = k;
  context.out(context.in(0).dtype, dims);
  context.out(DType::I64, dims);
}

// Values, then their positions along `dim`. NaN counts as the greatest value.
const OpDef kOps[] = {
    {"sort",
     "(Tensor x, *, int dim=-1, bool descending=false, bool stable=false) -> (Tensor, Tensor)",
     sort},
    {"topk",
     "(Tensor x, *, int k, int dim=-1, bool largest=true, bool sorted=true) -> (Tensor, Tensor)",
     topk},
};

}  // namespace

extern const OpFamily k_family_sort;
const OpFamily k_family_sort = kOps;

}  // namespace regraft::ops
