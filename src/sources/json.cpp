#include "sources/json.h"

#include <algorithm>
#include <charconv>

#include "base/fail.h"
#include "sources/text.h"

namespace regraft::sources {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Sorted views instead of a hash table: no worst case for chosen keys.
const std::string* find_duplicate(const Json::Object& object) {
  constexpr size_t kFew = 16;
  if (object.size() <= kFew) {
    for (size_t i = 0; i < object.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (object[i].key == object[j].key) return &object[i].key;
      }
    }
    return nullptr;
  }
  std::vector<const std::string*> keys;
  keys.reserve(object.size());
  for (const JsonMember& member : object)
    keys.push_back(&member.key);
  std::sort(keys.begin(), keys.end(), [](auto* a, auto* b) { return *a < *b; });
  const auto twin =
      std::adjacent_find(keys.begin(), keys.end(), [](auto* a, auto* b) { return *a == *b; });
  return twin == keys.end() ? nullptr : *twin;
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view where, const JsonLimits& limits)
      : text_(text), where_(where), limits_(limits) {}

  Json document() {
    if (text_.size() > limits_.bytes) {
      base::fail("sources", ErrorCode::OutOfMemory, where_, ": JSON: want at most ", limits_.bytes,
                 " bytes, have ", text_.size());
    }
    skip_space();
    Json result = value(0);
    skip_space();
    if (at_ != text_.size()) fail("the end of the text");
    return result;
  }

 private:
  [[noreturn]] void fail(std::string_view want) const {
    base::fail("sources", ErrorCode::Corrupt, where_, ": JSON at byte ", at_, ": want ", want,
               ", have ",
               at_ < text_.size() ? "'" + printable(text_.substr(at_, 20)) + "'" : "the end");
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) {
      ++at_;
    }
  }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    skip_space();
    return true;
  }

  Json word(std::string_view expected, Json result) {
    if (text_.substr(at_, expected.size()) != expected) fail("a value");
    at_ += expected.size();
    return result;
  }

  Json value(int depth) {
    if (depth > limits_.depth) fail("less nesting");
    if (++values_ > limits_.values) {
      base::fail("sources", ErrorCode::OutOfMemory, where_, ": JSON: want at most ", limits_.values,
                 " values");
    }
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return Json(string());
      case 't':
        return word("true", Json(true));
      case 'f':
        return word("false", Json(false));
      case 'n':
        return word("null", Json());
      default:
        return number();
    }
  }

  // Takes the last character of a container; the space behind it is the caller's.
  bool take_end(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  Json array(int depth) {
    Json::Array items;
    take('[');
    if (take_end(']')) return Json(std::move(items));
    do {
      items.push_back(value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take_end(']')) fail("',' or ']'");
    return Json(std::move(items));
  }

  Json object(int depth) {
    Json::Object members;
    take('{');
    if (take_end('}')) return Json(std::move(members));
    do {
      if (peek() != '"') fail("a key");
      std::string key = string();
      skip_space();
      if (!take(':')) fail("':'");
      members.push_back({std::move(key), value(depth + 1)});
      skip_space();
    } while (take(','));
    if (!take_end('}')) fail("',' or '}'");
    if (const std::string* key = find_duplicate(members)) {
      base::fail("sources", ErrorCode::Corrupt, where_, ": JSON: duplicate key '", printable(*key),
                 "'");
    }
    return Json(std::move(members));
  }

  // -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
  Json number() {
    const size_t begin = at_;
    if (peek() == '-') ++at_;
    if (!is_digit(peek())) fail("a value");
    if (peek() == '0') {
      ++at_;
    } else {
      digits();
    }
    bool is_integer = true;
    if (peek() == '.') {
      is_integer = false;
      ++at_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      is_integer = false;
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    const char* first = text_.data() + begin;
    const char* last = text_.data() + at_;
    if (is_integer) {
      int64_t exact = 0;
      if (std::from_chars(first, last, exact).ec == std::errc()) return Json(exact);
    } else {
      double nearest = 0;
      if (std::from_chars(first, last, nearest).ec == std::errc()) return Json(nearest);
    }
    at_ = begin;
    fail(is_integer ? "an integer of 64 bits" : "a number in the range of double");
  }

  void digits() {
    if (!is_digit(peek())) fail("a digit");
    while (is_digit(peek()))
      ++at_;
  }

  std::string string() {
    std::string out;
    ++at_;
    while (true) {
      const char c = peek();
      if (at_ >= text_.size() || static_cast<unsigned char>(c) < 0x20) fail("'\"'");
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c == '\\') {
        ++at_;
        escape(out);
        continue;
      }
      const size_t length = utf8_length(text_, at_);
      if (length == 0) fail("UTF-8");
      out += text_.substr(at_, length);
      at_ += length;
    }
  }

  void escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const char c = peek();
    if (c == 'u') {
      ++at_;
      append_utf8(out, escaped_code());
      return;
    }
    const size_t found = at_ < text_.size() ? kLetters.find(c) : std::string_view::npos;
    if (found == std::string_view::npos) fail("an escape");
    out += kMeanings[found];
    ++at_;
  }

  uint32_t escaped_code() {
    const uint32_t high = hex4();
    if (high < 0xd800 || high > 0xdfff) return high;
    if (high > 0xdbff || text_.substr(at_, 2) != "\\u") fail("a surrogate pair");
    at_ += 2;
    const uint32_t low = hex4();
    if (low < 0xdc00 || low > 0xdfff) fail("a surrogate pair");
    return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }

  uint32_t hex4() {
    uint32_t code = 0;
    const std::string_view hex = text_.substr(at_, 4);
    const auto end = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
    if (hex.size() != 4 || end.ptr != hex.data() + 4) fail("four hex digits");
    at_ += 4;
    return code;
  }

  std::string_view text_;
  std::string_view where_;
  const JsonLimits& limits_;
  size_t at_ = 0;
  size_t values_ = 0;
};

}  // namespace

Json Json::parse(std::string_view text, std::string_view where, const JsonLimits& limits) {
  return Parser(text, where, limits).document();
}

const Json* Json::find(std::string_view key) const {
  if (const Object* members = object()) {
    for (const JsonMember& member : *members) {
      if (member.key == key) return &member.value;
    }
  }
  return nullptr;
}

std::string json_quoted(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text, at);
    const char c = text[at];
    if (length == 0) {
      base::fail("sources", ErrorCode::InvalidArgument, "'", printable(text), "' is not UTF-8");
    }
    if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += text.substr(at, length);
    }
    at += length;
  }
  return out + '"';
}

}  // namespace regraft::sources
