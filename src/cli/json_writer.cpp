#include "cli/json_writer.h"

#include <cmath>

#include "base/text.h"
#include "sources/json.h"

namespace regraft::cli {

void JsonWriter::separate() {
  if (needs_comma_) out_ += ',';
  needs_comma_ = true;
}

JsonWriter& JsonWriter::raw(std::string_view text) {
  separate();
  out_ += text;
  return *this;
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  out_ += bracket;
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  out_ += bracket;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  out_ += sources::json_quoted(name) + ":";
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) { return raw(sources::json_quoted(text)); }

// JSON has no infinity and no NaN.
JsonWriter& JsonWriter::value(double number) {
  return raw(std::isfinite(number) ? base::float_text(number) : "null");
}

JsonWriter& JsonWriter::value(const std::vector<std::string>& texts) {
  begin_array();
  for (const std::string& text : texts)
    value(text);
  return end_array();
}

}  // namespace regraft::cli
