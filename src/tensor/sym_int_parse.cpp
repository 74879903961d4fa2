#include <charconv>

#include "base/cursor.h"
#include "base/fail.h"
#include "tensor/sym_int.h"

namespace regraft {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Parser final : base::Cursor {
 public:
  explicit Parser(std::string_view text) : Cursor(text) {}

  SymInt parse() {
    constexpr size_t kLongest = 4096;
    if (text().size() > kLongest) fail();
    const SymInt value = sum();
    if (!at_end()) fail();
    return value;
  }

 private:
  [[noreturn]] void fail() const override {
    base::fail("shape", ErrorCode::InvalidArgument, "not a size expression: '",
               text().substr(0, 200), "' (at character ", position(), ")");
  }

  SymInt sum() {
    if (++depth_ > 64) fail();
    SymInt value = product();
    while (true) {
      if (take("+")) {
        value = value + product();
      } else if (take("-")) {
        value = value - product();
      } else {
        --depth_;
        return value;
      }
    }
  }

  SymInt product() {
    SymInt value = atom();
    while (true) {
      if (take("//")) {
        value = floordiv(value, atom());
      } else if (take("*")) {
        value = value * atom();
      } else {
        return value;
      }
    }
  }

  SymInt atom() {
    bool is_negative = false;
    while (take("-"))
      is_negative = !is_negative;
    if (is_digit(peek())) return number(is_negative);
    return is_negative ? unsigned_atom() * -1 : unsigned_atom();
  }

  SymInt unsigned_atom() {
    if (take("(")) {
      const SymInt value = sum();
      expect(")");
      return value;
    }
    const std::string_view name = word();
    for (const std::string_view function : {"floordiv", "mod", "min", "max"}) {
      if (name != function || !take("(")) continue;
      const SymInt a = sum();
      expect(",");
      const SymInt b = sum();
      expect(")");
      return function == "floordiv" ? floordiv(a, b)
             : function == "mod"    ? mod(a, b)
             : function == "min"    ? min(a, b)
                                    : max(a, b);
    }
    return SymInt::symbol(name);
  }

  // With its sign, since the smallest integer has no positive counterpart.
  SymInt number(bool is_negative) {
    const std::string digits = (is_negative ? "-" : "") + std::string(take_while(is_digit));
    int64_t value = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), value).ec != std::errc()) {
      base::fail("shape", ErrorCode::OutOfMemory, "size overflows: ", digits.substr(0, 200));
    }
    return value;
  }

  int depth_ = 0;
};

}  // namespace

SymInt SymInt::parse(std::string_view text) { return Parser(text).parse(); }

}  // namespace regraft
