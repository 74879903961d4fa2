#include "program/guards.h"

#include <algorithm>

#include "base/cursor.h"
#include "base/fail.h"
#include "base/log.h"

namespace regraft::program {
namespace {

using Relation = SizeGuard::Relation;

constexpr int kDepth = 64;

// Thrown inside this file only.
struct NotAGuard {};

// As torch.export names the inputs of a graph.
std::string name_part(std::string_view key) {
  std::string out;
  for (const char c : key) {
    const bool is_digit = c >= '0' && c <= '9', is_lower = c >= 'a' && c <= 'z';
    const bool is_upper = c >= 'A' && c <= 'Z';
    out += is_digit || is_lower ? c : is_upper ? static_cast<char>(c - 'A' + 'a') : '_';
  }
  return out;
}

class Parser final : base::Cursor {
 public:
  Parser(std::string_view text, const SizeOfInput& size_of) : Cursor(text), size_of_(size_of) {}

  std::vector<SizeGuard> run() {
    std::vector<SizeGuard> out = {comparison()};
    while (take("and "))
      out.push_back(comparison());
    while (take("or ")) {
      if (out.size() != 1) fail();
      out[0] = either(out[0], comparison());
    }
    if (!at_end()) fail();
    return out;
  }

 private:
  [[noreturn]] void fail() const override { throw NotAGuard{}; }

  // a == b or c == d, which is (a - b) * (c - d) == 0.
  static SizeGuard either(const SizeGuard& first, const SizeGuard& second) {
    if (first.relation != Relation::Equal || second.relation != Relation::Equal) throw NotAGuard{};
    return {(first.left - first.right) * (second.left - second.right), Relation::Equal, 0};
  }

  SizeGuard comparison() {
    SizeGuard out;
    SymInt left = sum();
    bool is_turned = false;
    if (take("==")) {
      out.relation = Relation::Equal;
    } else if (take("!=")) {
      out.relation = Relation::NotEqual;
    } else if (take("<=")) {
      out.relation = Relation::LessEqual;
    } else if (take("<")) {
      out.relation = Relation::Less;
    } else if (take(">=")) {
      out.relation = Relation::LessEqual;
      is_turned = true;
    } else if (take(">")) {
      out.relation = Relation::Less;
      is_turned = true;
    } else {
      fail();
    }
    SymInt right = sum();
    if (is_turned) std::swap(left, right);
    out.left = std::move(left);
    out.right = std::move(right);
    return out;
  }

  SymInt sum() {
    if (++depth_ > kDepth) fail();
    SymInt out = product();
    for (;;) {
      if (take("+")) {
        out = out + product();
      } else if (take("-")) {
        out = out - product();
      } else {
        break;
      }
    }
    --depth_;
    return out;
  }

  SymInt product() {
    SymInt out = factor();
    for (;;) {
      if (take("**")) fail();
      if (take("//")) {
        out = floordiv(out, factor());
      } else if (take("*")) {
        out = out * factor();
      } else if (take("%")) {
        out = mod(out, factor());
      } else {
        return out;
      }
    }
  }

  SymInt factor() {
    if (++depth_ > kDepth) fail();
    SymInt out;
    if (take("-")) {
      out = SymInt(0) - factor();
    } else if (take("(")) {
      out = sum();
      expect(")");
    } else if (take("torch.sym_max(")) {
      out = of_two([](const SymInt& a, const SymInt& b) { return max(a, b); });
    } else if (take("torch.sym_min(")) {
      out = of_two([](const SymInt& a, const SymInt& b) { return min(a, b); });
    } else if (take("L[")) {
      out = size();
    } else {
      out = SymInt(natural());
    }
    --depth_;
    return out;
  }

  SymInt of_two(SymInt (*function)(const SymInt&, const SymInt&)) {
    const SymInt first = sum();
    expect(",");
    const SymInt second = sum();
    expect(")");
    return function(first, second);
  }

  int64_t natural() {
    if (peek() == '-') fail();
    return integer();
  }

  // A key in quotes, or an index, and the bracket behind it.
  std::string key() {
    std::string out;
    if (peek() == '\'' || peek() == '"') {
      out = name_part(quoted());
    } else {
      out = std::to_string(natural());
    }
    expect("]");
    return out;
  }

  // Behind "L[": 'd']['a b'].size()[0], or a number that is passed: 'd']['n']
  SymInt size() {
    const std::string argument = key();
    std::string rest;
    while (take("["))
      rest += "_" + key();
    std::optional<int64_t> dim;
    if (take(".size()[")) {
      dim = natural();
      expect("]");
    }
    auto found = size_of_(argument + rest, dim);
    // What **kwargs hold goes by its own name.
    if (!found && !rest.empty()) found = size_of_(rest.substr(1), dim);
    if (!found) fail();
    return *std::move(found);
  }

  const SizeOfInput& size_of_;
  int depth_ = 0;
};

std::optional<SymInt> size_in(const ExportedGraph& graph, const std::string& input,
                              std::optional<int64_t> dim) {
  const auto is_input = [&](const ArgumentValue& value) {
    const auto* tensor = std::get_if<TensorName>(&value);
    const auto* number = std::get_if<SymName>(&value);
    return dim ? tensor != nullptr && tensor->name == input
               : number != nullptr && number->name == input;
  };
  if (std::ranges::none_of(graph.inputs, is_input)) return std::nullopt;
  if (!dim) {
    const auto number = graph.sizes.find(input);
    return number == graph.sizes.end() ? std::nullopt : number->second;
  }
  const auto meta = graph.tensors.find(input);
  if (meta == graph.tensors.end() || static_cast<size_t>(*dim) >= meta->second.sizes.size())
    return std::nullopt;
  return meta->second.sizes[static_cast<size_t>(*dim)];
}

}  // namespace

std::optional<std::vector<SizeGuard>> try_parse_guard(std::string_view text,
                                                      const SizeOfInput& size_of) {
  try {
    return Parser(text, size_of).run();
  } catch (const NotAGuard&) {
    return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;  // An expression that is too large, or a divisor of zero.
  }
}

std::vector<SizeGuard> guards_of(const ExportedProgram& program) {
  const auto size_of = [&](const std::string& input, std::optional<int64_t> dim) {
    return size_in(program.graph, input, dim);
  };
  std::vector<SizeGuard> out;
  for (const std::string& text : program.guards) {
    auto guards = try_parse_guard(text, size_of);
    if (!guards) {
      base::log(LogLevel::Warning,
                base::cat("[program] sizes may go another way than the program that was exported: "
                          "cannot check that ",
                          std::string_view(text).substr(0, 500)));
      continue;
    }
    for (SizeGuard& guard : *guards) {
      if (!guard.is_always_true() && std::ranges::find(out, guard) == out.end())
        out.push_back(std::move(guard));
    }
  }
  return out;
}

}  // namespace regraft::program
