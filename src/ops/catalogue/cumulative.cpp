#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void cumulative(TypeContext& context) {
  const TensorType& x = context.in(0);
  context.dim(context.attributes().integer("dim"), x.rank());
  const bool widens = x.dtype == DType::Bool || is_integral(x.dtype);
  context.out(optional_dtype(context).value_or(widens ? DType::I64 : x.dtype), x.dims);
}

constexpr std::string_view kCumulative = "(Tensor x, *, int dim, dtype? dtype=None) -> Tensor";

const OpDef kOps[] = {
    {"cumsum", kCumulative, cumulative},
    {"cumprod", kCumulative, cumulative},
};

}  // namespace

extern const OpFamily k_family_cumulative;
const OpFamily k_family_cumulative = kOps;

}  // namespace regraft::ops
