#include <algorithm>

#include "ops/op.h"

namespace regraft::ops {
namespace {

// `padding` is (before, after) per dim, last dim first. Negative amounts crop.
void pad(TypeContext& context) {
  const TensorType& x = context.in(0);
  const SymDims& padding = context.attributes().sizes("padding");
  const std::string& mode = context.attributes().text("mode");
  constexpr std::string_view kModes[] = {"constant", "reflect", "replicate", "circular"};
  if (std::find(std::begin(kModes), std::end(kModes), mode) == std::end(kModes)) {
    context.fail("mode: want constant, reflect, replicate or circular, have \"", mode, "\"");
  }
  if (padding.size() % 2 != 0 || padding.size() / 2 > x.rank()) {
    context.fail("padding ", to_string(padding), " does not fit ", to_string(x.dims));
  }
  SymDims dims = x.dims;
  for (size_t i = 0; i < padding.size() / 2; ++i) {
    SymInt& size = dims[dims.size() - 1 - i];
    const SymInt before = padding[2 * i], after = padding[2 * i + 1];
    const SymInt limit = mode == "reflect" ? size - 1 : size;
    for (const SymInt& amount : {before, after}) {
      const SymInt excess = amount - limit;
      const bool wraps = mode == "reflect" || mode == "circular";
      if (wraps && excess.is_constant() && excess.value() > 0) {
        context.fail("padding ", amount.str(), " is too large for mode ", mode, " and size ",
                     size.str());
      }
    }
    size = size + before + after;
    if (size.is_constant() && size.value() < 0) {
      context.fail("padding ", to_string(padding), " leaves a negative size of ",
                   to_string(x.dims));
    }
  }
  context.out(x.dtype, dims);
}

const OpDef kOps[] = {
    {"pad", "(Tensor x, *, int[] padding, str mode=\"constant\", Scalar value=0.0) -> Tensor", pad,
     kMoves},
};

}  // namespace

extern const OpFamily k_family_pad;
const OpFamily k_family_pad = kOps;

}  // namespace regraft::ops
