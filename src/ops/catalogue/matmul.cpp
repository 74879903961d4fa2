#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

// torch.matmul: a vector is a row on the left and a column on the right, and that dimension is
// taken away again; what stands before the last two dimensions broadcasts.
void matmul(TypeContext& context) {
  const TensorType& x = context.in(0);
  const TensorType& y = context.in(1);
  check_not_bool(context, x.dtype);
  check_same_dtype(context, 1, "y");
  if (x.rank() < 1 || y.rank() < 1) {
    context.fail("want at least one dimension each, have ", x.str(), " and ", y.str());
  }
  const SymInt& inner = y.dims[y.rank() == 1 ? 0 : y.rank() - 2];
  if (!can_equal(x.dims.back(), inner)) {
    context.fail("inner sizes of ", x.str(), " and ", y.str(), " differ");
  }
  const auto batch = [](const SymDims& dims) {
    return SymDims(dims.begin(), dims.end() - std::min<ptrdiff_t>(2, std::ssize(dims)));
  };
  SymDims dims = broadcast(context, batch(x.dims), batch(y.dims));
  if (x.rank() > 1) dims.push_back(x.dims[x.rank() - 2]);
  if (y.rank() > 1) dims.push_back(y.dims.back());
  context.out(x.dtype, std::move(dims));
}

constexpr OpDef kOps[] = {
    {"matmul", "(Tensor x, Tensor y) -> Tensor", matmul},
};

}  // namespace

extern const OpFamily k_family_matmul = kOps;

}  // namespace regraft::ops
