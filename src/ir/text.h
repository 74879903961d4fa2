#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace regraft::ir {

// The text form of a graph; parse(print(g)) prints the same again.
//
//     symbols { s0 in [1,64] }
//     parameters {
//       @conv.weight: f32[64,3,7,7]
//       @lm_head.weight: f32[50,8] = @wte.weight      // an alias of the tied tensor
//     }
//     weights {
//       $s: f32[64] = rsqrt(@bn.running_var)
//     }
//     shapes { ... }
//     graph(%x: f32[s0,3,224,224]) {
//       %y: f32[s0,64,112,112] = convolution(%x, $w, none) {padding=[3,3], stride=[2,2]}
//       %z: f32[s0,64,112,112] = add(%y, 1.0)
//       return %z
//     }
//
// A literal in operand position is the op's `scalar` attribute (`scalar`, `x_scalar`, `y_scalar` or
// `value`, in the place of the absent tensor). Attributes equal to their default are not printed.
// A name that is not [A-Za-z0-9_.]+ stands in double quotes. `//` begins a comment.
std::string print(const Graph& graph);

// Node on one line, without its results: "add(%x, 1.0)".
std::string print(const Node& node);

// Reads the text form. Result types may be left out (they are inferred) and must agree with
// inference where stated; an operand may be a nested call: mul(@w, rsqrt(@v)); `%a, %b = op(...)`
// names several results; `return %a as logits` names an output. Opaque ops need their result types.
// Throws Error{"ir", InvalidArgument} with line and column. Nesting is limited; hostile text cannot
// crash it.
std::unique_ptr<Graph> parse(std::string_view text);

}  // namespace regraft::ir
