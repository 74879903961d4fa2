#pragma once

#include "compilation/compile_backend.h"

namespace regraft::compilation {

// Takes batch normalisation with weight values as statistics out of the compute program:
//     scale = weight / sqrt(variance + eps)        shift = bias - mean * scale
// Behind a convolution or linear whose result nothing else reads, scale is multiplied into its
// weight and shift added to its bias; elsewhere x * scale + shift remains. The folding is done in
// f32 (f64 for f64) by the weight program and rounded once.
void fold_batch_norm(ir::Graph& graph, const Settings& settings);

}  // namespace regraft::compilation
