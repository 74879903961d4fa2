#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

void check_trailing_dims(const TypeContext& context) {
  const TensorType& x = context.in(0);
  const SymDims& dims = context.attributes().sizes("dims");
  check_floating(context, x.dtype);
  if (dims.empty() || dims.size() > x.rank()) {
    context.fail("dims: want 1 to ", x.rank(), " sizes, have ", to_string(dims));
  }
  const SymDims last(x.dims.end() - std::ssize(dims), x.dims.end());
  check_same_dims(context, "last sizes of x", dims, last);
}

void check_parameter(const TypeContext& context, size_t input, std::string_view name) {
  if (!context.has(input)) return;
  check_same_dims(context, name, context.attributes().sizes("dims"), context.in(input).dims);
}

void layer_norm(TypeContext& context) {
  check_trailing_dims(context);
  const bool is_half = item_size(context.in(0).dtype) == 2;
  for (const size_t input : {size_t{1}, size_t{2}}) {
    const std::string_view name = input == 1 ? "weight" : "bias";
    check_parameter(context, input, name);
    // PyTorch lets f32 parameters accompany 16-bit activations.
    if (context.has(input) && !(is_half && context.in(input).dtype == DType::F32)) {
      check_same_dtype(context, input, name);
    }
  }
  context.out(context.in(0));
}

// The weight may be of any floating dtype; the result has that of x.
void rms_norm(TypeContext& context) {
  check_trailing_dims(context);
  check_parameter(context, 1, "weight");
  if (context.has(1)) check_floating(context, context.in(1).dtype);
  context.out(context.in(0));
}

constexpr OpDef kOps[] = {
    {"layer_norm",
     "(Tensor x, Tensor? weight=None, Tensor? bias=None, *, int[] dims, float eps) -> Tensor",
     layer_norm},
    {"rms_norm", "(Tensor x, Tensor? weight=None, *, int[] dims, float? eps=None) -> Tensor",
     rms_norm},
};

}  // namespace

extern const OpFamily k_family_layer_norm = kOps;

}  // namespace regraft::ops
