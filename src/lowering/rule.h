#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lowering/call.h"

namespace regraft::lowering {

// A lowering written as text: the call of a catalogue op over the arguments of PyTorch's op, e.g.
//
//     hardtanh(self) {min=min_val, max=max_val}
//     rsub.Scalar(self, other):  sub(other, self)
//     sum(self) {dims=axes(dim), keepdim=keepdim, dtype=dtype}
//
// Operands are arguments (a number argument becomes the op's Scalar operand, None an absent
// tensor), literals, nested calls, or "none". Attribute values are arguments or literals; None
// leaves the attribute out. axis(x) and axes(x) make dimension indices of the first operand
// non-negative. Every result of the outer call is a result of the op.
class Rule {
 public:
  // Throws Error{Internal}: rules are part of this source code.
  static Rule parse(std::string_view text, const Signature& signature);
  void apply(Call& call) const;

 private:
  friend class RuleParser;
  struct Node;
  struct Operand {
    enum class Kind { Argument, Literal, Nested, Absent } kind = Kind::Absent;
    std::string argument;
    Attribute literal;
    std::shared_ptr<const Node> nested;
  };
  struct AttributeRule {
    enum class Kind { Argument, Literal, Axis, Axes } kind = Kind::Argument;
    std::string name;
    std::string argument;
    Attribute literal;
  };
  struct Node {
    std::string op;
    std::vector<Operand> operands;
    std::vector<AttributeRule> attributes;
  };
  static std::vector<ir::Value*> emit(const Node& node, Call& call);
  std::shared_ptr<const Node> root_;
};

}  // namespace regraft::lowering
