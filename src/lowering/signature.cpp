#include "lowering/signature.h"

#include <charconv>

#include "base/fail.h"

namespace regraft::lowering {
namespace {

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Signature parse() {
    Signature out;
    out.op = word();
    if (take('.')) {
      do {
        out.overloads.emplace_back(word());
      } while (take(','));
    } else {
      out.overloads.emplace_back("default");
    }
    if (!take('(')) fail();
    while (!take(')')) {
      Signature::Argument argument;
      argument.name = word();
      if (take('=')) {
        argument.has_default = true;
        argument.fallback = literal();
      }
      out.arguments.push_back(std::move(argument));
      if (!take(',') && peek() != ')') fail();
    }
    if (at_ != text_.size()) fail();
    return out;
  }

 private:
  [[noreturn]] void fail() const {
    base::fail("lowering", ErrorCode::Internal, "bad signature at character ", at_, ": ", text_);
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

  program::ArgumentValue literal() {
    const char first = peek();
    if (first == '"') {
      const size_t end = text_.find('"', ++at_);
      if (end == std::string_view::npos) fail();
      std::string value(text_.substr(at_, end - at_));
      at_ = end + 1;
      return value;
    }
    if (take('[')) {
      std::vector<program::SymElement> list;
      while (!take(']')) {
        list.push_back({"", std::get<int64_t>(number())});
        take(',');
      }
      return list;
    }
    if (std::isalpha(static_cast<unsigned char>(first)) != 0) {
      const std::string_view name = word();
      if (name == "None") return std::monostate{};
      if (name != "True" && name != "False") fail();
      return name == "True";
    }
    return number();
  }

  program::ArgumentValue number() {
    const size_t end = text_.find_first_of(",)] ", at_);
    const std::string_view digits = text_.substr(at_, end - at_);
    at_ = end;
    int64_t whole = 0;
    const char* last = digits.data() + digits.size();
    if (std::from_chars(digits.data(), last, whole).ptr == last) return whole;
    double real = 0;
    if (std::from_chars(digits.data(), last, real).ptr != last) fail();
    return real;
  }

  std::string_view text_;
  size_t at_ = 0;
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
