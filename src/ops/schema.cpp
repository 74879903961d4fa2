#include "ops/schema.h"

#include <utility>

#include "base/cursor.h"

namespace regraft::ops {
namespace {

constexpr std::pair<std::string_view, ArgumentType> kTypes[] = {
    {"Tensor?[]", ArgumentType::TensorList},
    {"Tensor[]", ArgumentType::TensorList},
    {"Tensor?", ArgumentType::OptionalTensor},
    {"Tensor", ArgumentType::Tensor},
    {"bool", ArgumentType::Bool},
    {"int[]", ArgumentType::Ints},
    {"int", ArgumentType::Int},
    {"float[]", ArgumentType::Floats},
    {"float", ArgumentType::Float},
    {"str", ArgumentType::Text},
    {"dtype", ArgumentType::DataType},
    {"Scalar", ArgumentType::Scalar},
};

class Reader final : base::Cursor {
 public:
  explicit Reader(std::string_view text) : Cursor(text) {}

  Schema read() {
    Schema schema;
    expect("(");
    while (!take(")")) {
      if (!take("*")) schema.arguments.push_back(argument());
      take(",");
    }
    expect("->");
    schema.result_count = results();
    return schema;
  }

 private:
  [[noreturn]] void fail() const override {
    base::fail("ops", ErrorCode::Internal, "bad schema at character ", position(), ": ", text());
  }

  std::string_view until(std::string_view stops) {
    int brackets = 0;
    return take_while([&](char c) {
      if (c == '[') ++brackets;
      if (c == ']') --brackets;
      return brackets != 0 || stops.find(c) == std::string_view::npos;
    });
  }

  Argument argument() {
    Argument out;
    bool known = false;
    for (const auto& [name, type] : kTypes) {
      if (take(name)) {
        out.type = type;
        known = true;
        break;
      }
    }
    if (!known) fail();
    if (!out.is_tensor() && take("?")) out.optional = true;
    out.name = until(" =,)");
    if (take("=")) out.fallback = fallback(out, until(",)"));
    return out;
  }

  Attribute fallback(const Argument& argument, std::string_view text) {
    if (text == "None") return std::monostate{};
    if (text == "true" || text == "false") return text == "true";
    if (text.front() == '"') return std::string(text.substr(1, text.size() - 2));
    if (const auto dtype = try_parse_dtype(text)) return *dtype;
    if (text.front() == '[') return list(text.substr(1, text.size() - 2));
    if (argument.type == ArgumentType::Float ||
        text.find_first_of(".e") != std::string_view::npos || text == "inf") {
      return std::stod(std::string(text));
    }
    return SymInt(std::stoll(std::string(text)));
  }

  Attribute list(std::string_view text) {
    SymDims out;
    while (!text.empty()) {
      const size_t comma = text.find(',');
      out.push_back(std::stoll(std::string(text.substr(0, comma))));
      text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
    }
    return out;
  }

  int results() {
    if (take("Tensor[]")) return -1;
    if (take("Tensor")) return 1;
    expect("(");
    int count = 0;
    while (!take(")")) {
      expect("Tensor");
      take(",");
      ++count;
    }
    return count;
  }
};

}  // namespace

Schema Schema::parse(std::string_view text) { return Reader(text).read(); }

size_t Schema::tensor_count() const {
  size_t count = 0;
  for (const Argument& argument : arguments)
    count += argument.is_tensor();
  return count;
}

bool Schema::has_list() const {
  for (const Argument& argument : arguments) {
    if (argument.type == ArgumentType::TensorList) return true;
  }
  return false;
}

const Argument* Schema::find(std::string_view name) const {
  for (const Argument& argument : arguments) {
    if (argument.name == name) return &argument;
  }
  return nullptr;
}

size_t Schema::list_length(size_t input_count) const {
  return has_list() ? input_count - (tensor_count() - 1) : 0;
}

size_t Schema::input_index(std::string_view name, size_t input_count) const {
  size_t index = 0;
  for (const Argument& argument : arguments) {
    if (argument.name == name && argument.is_tensor()) return index;
    if (argument.type == ArgumentType::TensorList) {
      index += list_length(input_count);
    } else if (argument.is_tensor()) {
      ++index;
    }
  }
  base::fail("ops", ErrorCode::Internal, "no tensor argument named ", name);
}

}  // namespace regraft::ops
