#pragma once

#include "ir/graph.h"

// Rewrites of the imported graph, each in a file of its own. They keep every output's values (up to
// rounding) and give new nodes the origin of those they replace.
namespace regraft::lowering::passes {

// Views and arithmetic that change nothing; neighbouring views of one kind.
void simplify(ir::Graph& graph);
// The same for one node.
void simplify(ir::Graph& graph, ir::Node* node);
// Operands filled with one number become Scalar operands.
void fold_scalars(ir::Graph& graph);
// matmul with a weight, with its batch flattened or its weight expanded -> linear; bias adds.
void fuse_linear(ir::Graph& graph);
// softmax(q k^T * scale + mask) v -> scaled_dot_product_attention, where fully masked rows cannot
// tell the two apart; repeated key and value heads -> enable_gqa; default scales are left out.
void fuse_attention(ir::Graph& graph);
// silu, hardsigmoid, hardswish, gelu of both kinds from their arithmetic.
void fuse_activations(ir::Graph& graph);
// x * rsqrt(mean(x^2) + eps) * weight -> rms_norm.
void fuse_norms(ir::Graph& graph);

}  // namespace regraft::lowering::passes
