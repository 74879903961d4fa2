#include "lowering/rule.h"

#include <cctype>
#include <charconv>

#include "base/fail.h"

namespace regraft::lowering {

class RuleParser {
 public:
  RuleParser(std::string_view text, const Signature& signature)
      : text_(text), signature_(signature) {}

  std::shared_ptr<const Rule::Node> parse() {
    auto root = call(std::string(word()));
    if (peek() != '\0') fail();
    return root;
  }

 private:
  [[noreturn]] void fail() const {
    base::fail("lowering", ErrorCode::Internal, "bad rule at character ", at_, ": ", text_);
  }
  char peek() {
    while (at_ < text_.size() && text_[at_] == ' ')
      ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) fail();
  }
  bool at_word() {
    const char c = peek();
    return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
  }
  std::string_view word() {
    peek();
    const size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_')) {
      ++at_;
    }
    if (begin == at_) fail();
    return text_.substr(begin, at_ - begin);
  }
  std::string argument() {
    std::string name(word());
    if (signature_.find(name) == nullptr) fail();
    return name;
  }

  // Numbers, "text", and lists of integers.
  Attribute literal() {
    if (take('"')) {
      const size_t end = text_.find('"', at_);
      if (end == std::string_view::npos) fail();
      std::string value(text_.substr(at_, end - at_));
      at_ = end + 1;
      return value;
    }
    if (take('[')) {
      SymDims list;
      while (!take(']')) {
        const Attribute element = literal();
        list.push_back(std::get<SymInt>(element));
        take(',');
      }
      return list;
    }
    const size_t end = std::min(text_.find_first_of(",)}] ", at_), text_.size());
    const std::string_view digits = text_.substr(at_, end - at_);
    at_ = end;
    const char* last = digits.data() + digits.size();
    int64_t whole = 0;
    if (std::from_chars(digits.data(), last, whole).ptr == last) return SymInt(whole);
    double real = 0;
    if (std::from_chars(digits.data(), last, real).ptr != last) fail();
    return real;
  }

  Rule::Operand operand() {
    Rule::Operand out;
    if (!at_word()) {
      out.kind = Rule::Operand::Kind::Literal;
      out.literal = literal();
      return out;
    }
    const size_t begin = at_;
    const std::string name(word());
    if (name == "none") return out;
    if (peek() == '(') {
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
    out.name = std::string(word());
    expect('=');
    if (!at_word()) {
      out.kind = Rule::AttributeRule::Kind::Literal;
      out.literal = literal();
      return out;
    }
    const size_t begin = at_;
    const std::string_view head = word();
    if ((head == "axis" || head == "axes") && take('(')) {
      out.kind = head == "axis" ? Rule::AttributeRule::Kind::Axis : Rule::AttributeRule::Kind::Axes;
      out.argument = argument();
      expect(')');
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
    expect('(');
    while (!take(')')) {
      node->operands.push_back(operand());
      take(',');
    }
    if (take('{')) {
      while (!take('}')) {
        node->attributes.push_back(attribute());
        take(',');
      }
    }
    return node;
  }

  std::string_view text_;
  const Signature& signature_;
  size_t at_ = 0;
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
