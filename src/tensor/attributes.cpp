#include "tensor/attributes.h"

#include <algorithm>

#include "base/fail.h"

namespace regraft {
namespace {

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + '"';
}

struct Print {
  std::string operator()(std::monostate) const { return "none"; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(const SymInt& value) const { return value.str(); }
  std::string operator()(double value) const { return base::float_text(value); }
  std::string operator()(const std::string& value) const { return quoted(value); }
  std::string operator()(const SymDims& value) const { return to_string(value); }
  std::string operator()(const std::vector<double>& value) const {
    std::vector<std::string> parts;
    parts.reserve(value.size());
    for (const double x : value)
      parts.push_back(base::float_text(x));
    return "[" + base::join(parts, ",") + "]";
  }
  std::string operator()(DType value) const { return std::string(name(value)); }
};

}  // namespace

std::string to_string(const Attribute& value) { return std::visit(Print{}, value); }

// Through the text form: NaN equals NaN, as programs compare, not numbers.
bool operator==(const Attribute& a, const Attribute& b) {
  return a.index() == b.index() && to_string(a) == to_string(b);
}

Attributes::Attributes(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries)
    set(entry.first, entry.second);
}

void Attributes::set(std::string_view name, Attribute value) {
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), name,
                                   [](const Entry& e, std::string_view n) { return e.first < n; });
  if (at != entries_.end() && at->first == name) {
    at->second = std::move(value);
  } else {
    entries_.insert(at, {std::string(name), std::move(value)});
  }
}

void Attributes::erase(std::string_view name) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.first == name; });
}

const Attribute* Attributes::find(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.first == name) return &entry.second;
  }
  return nullptr;
}

bool Attributes::is_none(std::string_view name) const {
  const Attribute* found = find(name);
  return found == nullptr || std::holds_alternative<std::monostate>(*found);
}

namespace {

template <typename T>
const T& get(const Attributes& attributes, std::string_view name) {
  const Attribute* found = attributes.find(name);
  if (found == nullptr || !std::holds_alternative<T>(*found)) {
    base::fail("attributes", ErrorCode::Internal, name, ": ",
               found == nullptr ? "absent" : "has another type: " + to_string(*found));
  }
  return std::get<T>(*found);
}

}  // namespace

bool Attributes::flag(std::string_view name) const { return get<bool>(*this, name); }
const SymInt& Attributes::size(std::string_view name) const { return get<SymInt>(*this, name); }
int64_t Attributes::integer(std::string_view name) const { return size(name).value(); }

double Attributes::number(std::string_view name) const {
  const Attribute* found = find(name);
  if (found != nullptr) {
    if (const auto* value = std::get_if<double>(found)) return *value;
    if (const auto* value = std::get_if<bool>(found)) return *value ? 1.0 : 0.0;
  }
  return static_cast<double>(integer(name));
}

const std::string& Attributes::text(std::string_view name) const {
  return get<std::string>(*this, name);
}
const SymDims& Attributes::sizes(std::string_view name) const { return get<SymDims>(*this, name); }

Dims Attributes::integers(std::string_view name) const {
  Dims out;
  for (const SymInt& size : sizes(name))
    out.push_back(size.value());
  return out;
}

DType Attributes::dtype(std::string_view name) const { return get<DType>(*this, name); }

std::vector<double> Attributes::numbers(std::string_view name) const {
  const Attribute* found = find(name);
  if (found != nullptr && std::holds_alternative<SymDims>(*found)) {
    std::vector<double> out;
    for (const int64_t value : integers(name))
      out.push_back(static_cast<double>(value));
    return out;
  }
  return get<std::vector<double>>(*this, name);
}

Attributes Attributes::resolved(const SymbolValues& values) const {
  Attributes out = *this;
  for (Entry& entry : out.entries_) {
    if (auto* size = std::get_if<SymInt>(&entry.second)) *size = size->eval(values);
    if (auto* sizes = std::get_if<SymDims>(&entry.second)) *sizes = to_sym(eval(*sizes, values));
  }
  return out;
}

bool operator==(const Attributes& a, const Attributes& b) { return a.entries_ == b.entries_; }

std::string TensorType::str() const { return base::cat(name(dtype), to_string(dims)); }

}  // namespace regraft
