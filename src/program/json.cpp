#include "program/json.h"

#include <limits>

namespace regraft::program {

std::string Field::path() const {
  if (parent_ == nullptr) return "model.json";
  const std::string parent = parent_->path();
  if (index_ >= 0) return parent + "[" + std::to_string(index_) + "]";
  return parent + "." + std::string(key_.substr(0, 100));
}

simdjson::dom::array Field::as_array() const {
  simdjson::dom::array array;
  if (element_.get_array().get(array) != simdjson::SUCCESS) fail("want an array");
  return array;
}

simdjson::dom::object Field::as_object() const {
  simdjson::dom::object object;
  if (element_.get_object().get(object) != simdjson::SUCCESS) fail("want an object");
  return object;
}

Field Field::at(std::string_view key) const& {
  simdjson::dom::element value;
  if (as_object().at_key(key).get(value) != simdjson::SUCCESS) fail("want a member '", key, "'");
  return {value, this, key, -1};
}

std::optional<Field> Field::find(std::string_view key) const& {
  simdjson::dom::element value;
  if (as_object().at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) {
    return std::nullopt;
  }
  return Field(value, this, key, -1);
}

std::string Field::string() const {
  std::string_view text;
  if (element_.get_string().get(text) != simdjson::SUCCESS) fail("want a string");
  return std::string(text);
}

int64_t Field::integer() const {
  int64_t value = 0;
  if (element_.get_int64().get(value) != simdjson::SUCCESS) fail("want an integer of 64 bits");
  return value;
}

bool Field::boolean() const {
  bool value = false;
  if (element_.get_bool().get(value) != simdjson::SUCCESS) fail("want true or false");
  return value;
}

double Field::number() const {
  double value = 0;
  if (element_.get_double().get(value) == simdjson::SUCCESS) return value;
  std::string_view text;
  if (element_.get_string().get(text) != simdjson::SUCCESS) fail("want a number");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (text == "Infinity") return kInfinity;
  if (text == "-Infinity") return -kInfinity;
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  fail("want a number");
}

size_t Field::size() const { return as_array().size(); }

std::pair<std::string_view, Field> Field::alternative() const& {
  const simdjson::dom::object object = as_object();
  auto member = object.begin();
  if (member == object.end()) fail("want one member, have none");
  const std::string_view key = (*member).key;
  const Field value((*member).value, this, key, -1);
  if (++member != object.end()) fail("want one member, have several");
  return {key, value};
}

}  // namespace regraft::program
