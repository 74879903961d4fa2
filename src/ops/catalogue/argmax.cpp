#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void check(const TypeContext& context, const SymInt& count) {
  check_not_complex(context, context.in(0).dtype);
  if (count == SymInt(0)) context.fail("no elements to choose from");
}

SymDims without_axis(const TypeContext& context) {
  const TensorType& x = context.in(0);
  const size_t axis = context.dim(context.attributes().integer("dim"), x.rank());
  check(context, x.dims.empty() ? SymInt(1) : x.dims[axis]);
  std::vector<bool> reduced(x.rank(), false);
  if (axis < x.rank()) reduced[axis] = true;
  return reduce(x.dims, reduced, context.attributes().flag("keepdim"));
}

// Position along `dim`, or of the row-major tensor where `dim` is None.
void argument(TypeContext& context) {
  const TensorType& x = context.in(0);
  check_not_bool(context, x.dtype);
  if (given(context, "dim") != nullptr) {
    context.out(DType::I64, without_axis(context));
    return;
  }
  check(context, numel(x.dims));
  context.out(DType::I64, context.attributes().flag("keepdim") ? SymDims(x.rank(), 1) : SymDims{});
}

void value_and_argument(TypeContext& context) {
  const SymDims dims = without_axis(context);
  context.out(context.in(0).dtype, dims);
  context.out(DType::I64, dims);
}

constexpr std::string_view kArgument = "(Tensor x, *, int? dim=None, bool keepdim=false) -> Tensor";
constexpr std::string_view kBoth = "(Tensor x, *, int dim, bool keepdim=false) -> (Tensor, Tensor)";

const OpDef kOps[] = {
    {"argmax", kArgument, argument},
    {"argmin", kArgument, argument},
    {"max_dim", kBoth, value_and_argument},
    {"min_dim", kBoth, value_and_argument},
};

}  // namespace

extern const OpFamily k_family_argmax;
const OpFamily k_family_argmax = kOps;

}  // namespace regraft::ops
