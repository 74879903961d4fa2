#include "lowering/signature.h"

#include "lowering/cursor.h"

namespace regraft::lowering {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : at_(text, "signature") {}

  Signature parse() {
    Signature out;
    out.op = at_.word();
    if (at_.take(".")) {
      do {
        out.overloads.emplace_back(at_.word());
      } while (at_.take(","));
    } else {
      out.overloads.emplace_back("default");
    }
    at_.expect("(");
    while (!at_.take(")")) {
      Signature::Argument argument;
      argument.name = at_.word();
      if (at_.take("=")) {
        argument.has_default = true;
        argument.fallback = literal();
      }
      out.arguments.push_back(std::move(argument));
      if (!at_.take(",") && at_.peek() != ')') at_.fail();
    }
    if (!at_.at_end()) at_.fail();
    return out;
  }

 private:
  program::ArgumentValue literal() {
    if (at_.peek() == '"') return std::string(at_.quoted());
    if (at_.take("[")) {
      std::vector<program::SymElement> list;
      while (!at_.take("]")) {
        list.push_back({"", std::get<int64_t>(at_.number())});
        at_.take(",");
      }
      return list;
    }
    if (at_.at_word()) {
      const std::string_view name = at_.word();
      if (name == "None") return std::monostate{};
      if (name != "True" && name != "False") at_.fail();
      return name == "True";
    }
    return std::visit([](auto value) { return program::ArgumentValue(value); }, at_.number());
  }

  Cursor at_;
};

}  // namespace

Signature Signature::parse(std::string_view text) { return Parser(text).parse(); }

const Signature::Argument* Signature::find(std::string_view name) const {
  for (const Argument& argument : arguments) {
    if (argument.name == name) return &argument;
  }
  return nullptr;
}

}  // namespace regraft::lowering
