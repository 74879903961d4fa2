#include "lowering/rule.h"

#include "lowering/cursor.h"

namespace regraft::lowering {

class RuleParser {
 public:
  RuleParser(std::string_view text, const Signature& signature)
      : at_(text, "rule"), signature_(signature) {}

  std::shared_ptr<const Rule::Node> parse() {
    auto root = call(std::string(at_.word()));
    if (!at_.at_end()) at_.fail();
    return root;
  }

 private:
  std::string argument() {
    std::string name(at_.word());
    if (signature_.find(name) == nullptr) at_.fail();
    return name;
  }

  // Numbers, "text", and lists of integers.
  Attribute literal() {
    if (at_.peek() == '"') return std::string(at_.quoted());
    if (at_.take("[")) {
      SymDims list;
      while (!at_.take("]")) {
        const Attribute element = literal();
        list.push_back(std::get<SymInt>(element));
        at_.take(",");
      }
      return list;
    }
    const auto value = at_.number();
    if (const auto* whole = std::get_if<int64_t>(&value)) return SymInt(*whole);
    return std::get<double>(value);
  }

  Rule::Operand operand() {
    Rule::Operand out;
    if (!at_.at_word()) {
      out.kind = Rule::Operand::Kind::Literal;
      out.literal = literal();
      return out;
    }
    const Cursor begin = at_;
    const std::string name(at_.word());
    if (name == "none") return out;
    if (at_.peek() == '(') {
      out.kind = Rule::Operand::Kind::Nested;
      out.nested = call(name);
      return out;
    }
    at_ = begin;
    out.kind = Rule::Operand::Kind::Argument;
    out.argument = argument();
    return out;
  }

  Rule::AttributeRule attribute() {
    Rule::AttributeRule out;
    out.name = std::string(at_.word());
    at_.expect("=");
    if (!at_.at_word()) {
      out.kind = Rule::AttributeRule::Kind::Literal;
      out.literal = literal();
      return out;
    }
    const Cursor begin = at_;
    const std::string_view head = at_.word();
    if ((head == "axis" || head == "axes") && at_.take("(")) {
      out.kind = head == "axis" ? Rule::AttributeRule::Kind::Axis : Rule::AttributeRule::Kind::Axes;
      out.argument = argument();
      at_.expect(")");
      return out;
    }
    const auto dtype = try_parse_dtype(head);
    if (head == "true" || head == "false" || dtype) {
      out.kind = Rule::AttributeRule::Kind::Literal;
      out.literal = dtype ? Attribute(*dtype) : Attribute(head == "true");
      return out;
    }
    at_ = begin;
    out.argument = argument();
    return out;
  }

  std::shared_ptr<const Rule::Node> call(std::string op) {
    auto node = std::make_shared<Rule::Node>();
    node->op = std::move(op);
    at_.expect("(");
    while (!at_.take(")")) {
      node->operands.push_back(operand());
      at_.take(",");
    }
    if (at_.take("{")) {
      while (!at_.take("}")) {
        node->attributes.push_back(attribute());
        at_.take(",");
      }
    }
    return node;
  }

  Cursor at_;
  const Signature& signature_;
};

Rule Rule::parse(std::string_view text, const Signature& signature) {
  Rule rule;
  rule.root_ = RuleParser(text, signature).parse();
  return rule;
}

namespace {

// The Scalar attribute that stands for an absent tensor operand.
std::string scalar_name(const ops::Op& op, size_t operand) {
  size_t index = 0;
  for (const ops::Argument& argument : op.schema.arguments) {
    if (!argument.is_tensor() || index++ != operand) continue;
    const std::string own = argument.name + "_scalar";
    return op.schema.find(own) != nullptr ? own : "scalar";
  }
  return "scalar";
}

Attribute axes_attribute(const std::optional<Dims>& axes) {
  return axes ? Attribute(to_sym(*axes)) : Attribute(std::monostate{});
}

}  // namespace

std::vector<ir::Value*> Rule::emit(const Node& node, Call& call) {
  std::vector<ir::Value*> inputs;
  Attributes attributes;
  const ops::Op& op = ops::op(node.op);
  for (const Operand& operand : node.operands) {
    ir::Value* input = nullptr;
    switch (operand.kind) {
      case Operand::Kind::Absent:
        break;
      case Operand::Kind::Nested:
        input = emit(*operand.nested, call)[0];
        break;
      case Operand::Kind::Literal:
        attributes.set(scalar_name(op, inputs.size()), operand.literal);
        break;
      case Operand::Kind::Argument:
        if (call.is_tensor(operand.argument)) {
          input = call.tensor(operand.argument);
        } else if (!call.is_none(operand.argument)) {
          attributes.set(scalar_name(op, inputs.size()), call.scalar(operand.argument));
        }
    }
    inputs.push_back(input);
  }
  const size_t rank = inputs.empty() || inputs[0] == nullptr ? 0 : inputs[0]->dims().size();
  for (const AttributeRule& rule : node.attributes) {
    Attribute value;
    switch (rule.kind) {
      case AttributeRule::Kind::Literal:
        value = rule.literal;
        break;
      case AttributeRule::Kind::Argument:
        value = call.attribute(rule.argument);
        break;
      case AttributeRule::Kind::Axes:
        value = axes_attribute(call.axes(rule.argument, rank));
        break;
      case AttributeRule::Kind::Axis:
        if (!call.is_none(rule.argument)) value = SymInt(call.axis(rule.argument, rank));
    }
    if (!std::holds_alternative<std::monostate>(value)) {
      attributes.set(rule.name, std::move(value));
    }
  }
  return call.emit_all(node.op, inputs, std::move(attributes));
}

void Rule::apply(Call& call) const {
  for (ir::Value* value : emit(*root_, call))
    call.result(value);
}

}  // namespace regraft::lowering
