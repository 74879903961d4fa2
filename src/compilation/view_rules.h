#pragma once

#include <vector>

#include "compilation/rewrite.h"
#include "ir/graph.h"

// Rules of the pass simplify about views. A rule looks at one node and returns the value that may
// stand for its result, made in front of it where need be; null when it has nothing to say. All are
// exact: no element is calculated differently.
namespace regraft::compilation {

// permute(x)'s order, non-negative.
std::vector<size_t> order_of(const ir::Node& permute);

// The node that makes the first operand, if it is an `op`.
ir::Node* producer_of(const ir::Node& node, std::string_view op);

// reshape(x) to x's own sizes; reshape(reshape(x)).
ir::Value* reshape_rule(const ir::Node& node, Rewriter& at);
// reshape(permute(reshape(x))) that undoes what the first reshape merged, or only splits sizes, is
// permute(reshape(x)): strides can express it.
ir::Value* reshape_of_permute_rule(const ir::Node& node, Rewriter& at);
// permute(x) that keeps the order of all sizes but 1; permute(permute(x)).
ir::Value* permute_rule(const ir::Node& node, Rewriter& at);
// permute(f(permute(x))) where the permutations cancel and f is pointwise with x its only tensor.
ir::Value* sandwich_rule(const ir::Node& node, Rewriter& at);
// expand(x) to x's own sizes; expand(expand(x)).
ir::Value* expand_rule(const ir::Node& node, Rewriter& at);
// f(expand(x)) with f pointwise and x its only tensor is expand(f(x)); so is a lookup of expanded
// indices.
ir::Value* sink_expand_rule(const ir::Node& node, Rewriter& at);
// Reads x for expand(x) where the op broadcasts by itself. Null, or the changed node's result.
ir::Value* implied_expand_rule(const ir::Node& node, Rewriter& at);
// slice(x) of all of it; repeat(x) once; cat of one.
ir::Value* slice_rule(const ir::Node& node, Rewriter& at);
ir::Value* repeat_rule(const ir::Node& node, Rewriter& at);
ir::Value* cat_rule(const ir::Node& node, Rewriter& at);
// x[arange(rows)[:, None], arange(columns)] is a reshape of x.
ir::Value* index_rule(const ir::Node& node, Rewriter& at);

}  // namespace regraft::compilation
