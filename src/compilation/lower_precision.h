#pragma once

#include "compilation/compile_backend.h"

namespace regraft::compilation {

// Where settings.precision is a 16-bit type, the compute program calculates in it what the program
// states in f32. Inputs and outputs keep their declared types; casts stand behind and in front of
// them. The weight and shape programs stay in f32 and their results are rounded once. Also f32:
//   - numbers made from integers and masks (positions, attention masks) up to where they meet an
//     activation;
//   - what leads, by pointwise ops, views and matmul, into a function that small differences upset
//     (sin, cos, floor, a cast to an integer): rotary angles, time embeddings, coordinates;
//   - weights and statistics of norms, and masks of attention, whose kernels take f32 beside 16-bit
//     activations.
// Finite Scalars beyond the range of the 16-bit type ("minus infinity" in masks) become its
// largest.
void lower_precision(ir::Graph& graph, const Settings& settings);

}  // namespace regraft::compilation
