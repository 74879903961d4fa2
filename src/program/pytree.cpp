#include "program/pytree.h"

#include <set>

#include "program/json.h"

namespace regraft::program {
namespace {

constexpr int kDepth = 32;
// A spec repeats no names, so more leaves than this are not an output of a model.
constexpr size_t kMostLeaves = 100'000;

// The keys of a dict-like node: its context is a JSON list of as many strings as it has children.
std::vector<std::string> keys(const Field& node, size_t children) {
  std::vector<std::string> out;
  const auto context = node.find("context");
  if (!context) return out;
  try {
    simdjson::dom::parser parser;
    simdjson::dom::element element;
    const std::string text = context->string();
    if (parser.parse(text.data(), text.size()).get(element) != simdjson::SUCCESS) return out;
    const Field list(element);
    list.each([&](const Field& key) { out.push_back(key.string()); });
  } catch (const Error&) {
    out.clear();
  }
  if (out.size() != children) out.clear();
  return out;
}

void collect(const Field& node, const std::string& path, int depth, std::vector<std::string>& out) {
  if (depth > kDepth || out.size() > kMostLeaves) node.fail("the pytree is too large");
  const auto type = node.find("type");
  if (!type) {
    const bool starts_with_index = !path.empty() && path[0] >= '0' && path[0] <= '9';
    out.push_back(path.empty() ? "output" : starts_with_index ? "output_" + path : path);
    return;
  }
  if (type->string() == "builtins.NoneType") return;
  const Field children = node.at("children_spec");
  const std::vector<std::string> names = keys(node, children.size());
  size_t i = 0;
  children.each([&](const Field& child) {
    const std::string step = names.empty() ? std::to_string(i) : names[i];
    ++i;
    collect(child, path.empty() ? step : path + "." + step, depth + 1, out);
  });
}

std::vector<std::string> parse(std::string_view spec) {
  std::vector<std::string> out;
  try {
    simdjson::dom::parser parser;
    simdjson::dom::element element;
    if (parser.parse(spec.data(), spec.size()).get(element) != simdjson::SUCCESS) return out;
    const Field root(element);
    // [protocol, spec]
    int64_t i = 0;
    root.each([&](const Field& part) {
      if (i++ == 1) collect(part, "", 0, out);
    });
  } catch (const Error&) {
    out.clear();
  }
  return out;
}

}  // namespace

std::vector<std::string> leaf_names(std::string_view spec, size_t count) {
  std::vector<std::string> names = parse(spec);
  if (std::set<std::string>(names.begin(), names.end()).size() != count || names.size() != count) {
    names.clear();
    for (size_t i = 0; i < count; ++i)
      names.push_back("output_" + std::to_string(i));
    if (count == 1) names[0] = "output";
  }
  return names;
}

}  // namespace regraft::program
