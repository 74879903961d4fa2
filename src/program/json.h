#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <simdjson.h>

#include "base/fail.h"

namespace regraft::program {

// A JSON value together with its path, for messages. The path is a chain to the parents, so a field
// must not outlive the one it came from: chained calls on temporaries do not compile.
class Field {
 public:
  explicit Field(simdjson::dom::element element) : element_(element) {}

  // A member of an object. Throws when there is none.
  Field at(std::string_view key) const&;
  Field at(std::string_view key) const&& = delete;
  // Nothing when the member is missing or null.
  std::optional<Field> find(std::string_view key) const&;
  std::optional<Field> find(std::string_view key) const&& = delete;

  bool is_null() const { return element_.is_null(); }
  std::string string() const;
  int64_t integer() const;
  bool boolean() const;
  // Also an integer, and "Infinity", "-Infinity" and "NaN" as the serialiser writes them.
  double number() const;
  size_t size() const;  // Of an array.

  // f(Field element) for each element of an array.
  template <typename F>
  void each(const F& f) const {
    const simdjson::dom::array array = as_array();
    int64_t i = 0;
    for (const simdjson::dom::element element : array)
      f(Field(element, this, {}, i++));
  }
  // f(std::string_view key, Field value) for each member of an object.
  template <typename F>
  void each_member(const F& f) const {
    const simdjson::dom::object object = as_object();
    for (const auto& member : object)
      f(member.key, Field(member.value, this, member.key, -1));
  }
  // The only member of a union: its key and value.
  std::pair<std::string_view, Field> alternative() const&;
  std::pair<std::string_view, Field> alternative() const&& = delete;

  // Throws Error{"program", Corrupt}: "<path>: <parts>".
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    base::fail("program", ErrorCode::Corrupt, path(), ": ", parts...);
  }

 private:
  Field(simdjson::dom::element element, const Field* parent, std::string_view key, int64_t index)
      : element_(element), parent_(parent), key_(key), index_(index) {}
  simdjson::dom::array as_array() const;
  simdjson::dom::object as_object() const;
  std::string path() const;

  simdjson::dom::element element_;
  const Field* parent_ = nullptr;
  std::string_view key_;
  int64_t index_ = -1;
};

}  // namespace regraft::program
