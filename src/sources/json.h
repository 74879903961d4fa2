#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace regraft::sources {

// Bounds on hostile text; a value costs about 60 bytes of memory.
struct JsonLimits {
  size_t bytes = size_t{100} << 20;
  size_t values = 2'000'000;
  int depth = 32;
};

struct JsonMember;

// A JSON value (RFC 8259), owning its text. Numbers without fraction and exponent are exact 64-bit
// integers. The getters return null when the value is of another kind, so a chain of lookups over
// unknown text needs one check at its end.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<JsonMember>;  // In the order of the text; no key twice.

  // Strict: one value, UTF-8, no comments, trailing commas, NaN, duplicate keys, lone surrogates or
  // numbers outside int64 and double. Throws Error{Corrupt}, and Error{OutOfMemory} past a limit;
  // `where` leads the message.
  static Json parse(std::string_view text, std::string_view where, const JsonLimits& limits = {});

  Json() = default;
  template <typename T>
  explicit Json(T value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const double* number() const { return std::get_if<double>(&value_); }  // Not for integers.
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  // The member of an object; null when there is none or this is not an object. Linear.
  const Json* find(std::string_view key) const;

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

struct JsonMember {
  std::string key;
  Json value;
};

// `text` between quotes and escaped. Throws Error{InvalidArgument} for malformed UTF-8.
std::string json_quoted(std::string_view text);

}  // namespace regraft::sources
