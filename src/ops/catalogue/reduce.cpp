#include "ops/type_rules.h"

namespace regraft::ops {
namespace {

void out(TypeContext& context, DType dtype) {
  const TensorType& x = context.in(0);
  context.out(
      dtype, reduce(x.dims, reduced_dims(context, x.rank()), context.attributes().flag("keepdim")));
}

DType wide(DType dtype) { return dtype == DType::Bool || is_integral(dtype) ? DType::I64 : dtype; }

// sum, prod: integers widen to i64.
void total(TypeContext& context) {
  out(context, optional_dtype(context).value_or(wide(context.in(0).dtype)));
}

void mean(TypeContext& context) {
  const DType dtype = optional_dtype(context).value_or(context.in(0).dtype);
  if (!is_floating(dtype) && !is_complex(dtype)) {
    context.fail("want a floating-point tensor or dtype, have ", name(dtype));
  }
  out(context, dtype);
}

void extremum(TypeContext& context) {
  const TensorType& x = context.in(0);
  check_not_complex(context, x.dtype);
  const std::vector<bool> reduced = reduced_dims(context, x.rank());
  for (size_t i = 0; i < x.rank(); ++i) {
    if (reduced[i] && x.dims[i] == SymInt(0)) context.fail("no elements along dim ", i);
  }
  out(context, x.dtype);
}

void predicate(TypeContext& context) {
  out(context, context.in(0).dtype == DType::U8 ? DType::U8 : DType::Bool);
}

void variance(TypeContext& context) {
  check_floating(context, context.in(0).dtype);
  out(context, context.in(0).dtype);
}

void norm(TypeContext& context) {
  const DType dtype = optional_dtype(context).value_or(context.in(0).dtype);
  check_floating(context, dtype);
  out(context, dtype);
}

void logsumexp(TypeContext& context) {
  check_not_complex(context, context.in(0).dtype);
  out(context, floating_of(context.in(0).dtype));
}

constexpr std::string_view kPlain = "(Tensor x, *, int[]? dims=None, bool keepdim=false) -> Tensor";
constexpr std::string_view kTyped =
    "(Tensor x, *, int[]? dims=None, bool keepdim=false, dtype? dtype=None) -> Tensor";

const OpDef kOps[] = {
    {"sum", kTyped, total},
    {"mean", kTyped, mean},
    {"prod", kTyped, total},
    {"amax", kPlain, extremum},
    {"amin", kPlain, extremum},
    {"any", kPlain, predicate},
    {"all", kPlain, predicate},
    {"var", "(Tensor x, *, int[]? dims=None, bool keepdim=false, Scalar correction=1) -> Tensor",
     variance},
    // (sum |x|^ord)^(1/ord); ord inf, -inf and 0 as torch.linalg.vector_norm.
    {"norm",
     "(Tensor x, *, Scalar ord=2.0, int[]? dims=None, bool keepdim=false, dtype? dtype=None)"
     " -> Tensor",
     norm},
    {"logsumexp", kPlain, logsumexp},
};

}  // namespace

extern const OpFamily k_family_reduce;
const OpFamily k_family_reduce = kOps;

}  // namespace regraft::ops
