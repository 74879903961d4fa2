#include <algorithm>
#include <array>

#include "ops/type_rules_spatial.h"

namespace regraft::ops {
namespace {

void check_word(const TypeContext& context, std::string_view attribute,
                const std::array<std::string_view, 3>& words) {
  const std::string& word = context.attributes().text(attribute);
  if (std::find(words.begin(), words.end(), word) == words.end()) {
    context.fail(attribute, ": want ", words[0], ", ", words[1], " or ", words[2], ", have ", word);
  }
}

void grid_sampler(TypeContext& context) {
  const TensorType& x = context.in(0);
  const TensorType& grid = context.in(1);
  check_floating(context, x.dtype);
  check_same_dtype(context, 1, "grid");
  check_word(context, "mode", {"nearest", "bilinear", "bicubic"});
  check_word(context, "padding", {"zeros", "border", "reflection"});
  const size_t spatial = x.rank() - std::min<size_t>(x.rank(), 2);
  if ((spatial != 2 && spatial != 3) || grid.rank() != x.rank()) {
    context.fail("want x and grid of rank 4 or 5, have ", x.str(), " and ", grid.str());
  }
  if (spatial == 3 && context.attributes().text("mode") == "bicubic") {
    context.fail("mode: bicubic is for two spatial dimensions");
  }
  if (!can_equal(grid.dims.back(), spatial)) {
    context.fail("grid: want ", spatial, " coordinates, have ", grid.dims.back().str());
  }
  SymDims dims = {same_size(context, x.dims[0], grid.dims[0], "batch of grid"), x.dims[1]};
  for (size_t i = 0; i < spatial; ++i) {
    if (is_below(x.dims[i + 2], 1)) context.fail("x: want non-empty planes, have ", x.str());
    dims.push_back(grid.dims[i + 1]);
  }
  context.out(x.dtype, std::move(dims));
}

// grid[n, ..., :] is the place in x, as (x, y) or (x, y, z) in [-1, 1], that the result reads.
constexpr OpDef kOps[] = {
    {"grid_sampler",
     "(Tensor x, Tensor grid, *, str mode=\"bilinear\", str padding=\"zeros\", "
     "bool align_corners=false) -> Tensor",
     grid_sampler},
};

}  // namespace

extern const OpFamily k_family_grid_sampler = kOps;

}  // namespace regraft::ops
