#include <array>

#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void where(TypeContext& context) {
  if (context.in(0).dtype != DType::Bool) {
    context.fail("condition: want bool, have ", name(context.in(0).dtype));
  }
  std::vector<PromotionOperand> operands;
  SymDims dims = context.in(0).dims;
  constexpr std::string_view kScalars[] = {"x_scalar", "y_scalar"};
  for (size_t i = 0; i < 2; ++i) {
    const Attribute* scalar = given(context, kScalars[i]);
    if (context.has(i + 1) == (scalar != nullptr)) {
      context.fail("want two choices: a tensor or a scalar each");
    }
    if (scalar != nullptr) {
      operands.push_back({number_dtype(*scalar), PromotionRank::Number});
      continue;
    }
    const TensorType& type = context.in(i + 1);
    operands.push_back(
        {type.dtype, type.dims.empty() ? PromotionRank::ZeroDim : PromotionRank::Dimensioned});
    dims = broadcast(context, dims, type.dims);
  }
  context.out(regraft::promote(operands), dims);
}

const OpDef kOps[] = {
    {"where",
     "(Tensor condition, Tensor? x, Tensor? y, *, Scalar? x_scalar=None, Scalar? y_scalar=None)"
     " -> Tensor",
     where, kPointwise | kMoves},
};

}  // namespace

extern const OpFamily k_family_where;
const OpFamily k_family_where = kOps;

}  // namespace regraft::ops
