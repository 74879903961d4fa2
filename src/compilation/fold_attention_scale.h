#pragma once

#include "compilation/compile_backend.h"

namespace regraft::compilation {

// scaled_dot_product_attention(q * c, k * d, v) becomes attention of q and k with its scale times
// c * d. Rounding differs: the scores are scaled instead of their operands.
void fold_attention_scale(ir::Graph& graph, const Settings& settings);

}  // namespace regraft::compilation
