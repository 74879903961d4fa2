#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "base/fail.h"
#include "plan/plan.h"

namespace regraft::plan {
namespace {

std::optional<int64_t> try_eval(const SymInt& size, const SymbolValues& values) {
  try {
    return size.eval(values);
  } catch (const Error&) {
    return std::nullopt;  // A division by zero or an overflow at a trial value.
  }
}

// The value of `symbol` for which `size` is `want`, when `size` is a*symbol + b with everything
// else known. Three trial values tell a line from floordiv, mod, min and max.
std::optional<int64_t> try_solve(const SymInt& size, const std::string& symbol, int64_t want,
                                 SymbolValues values) {
  int64_t at[3];
  for (int64_t trial = 0; trial < 3; ++trial) {
    values[symbol] = trial;
    const auto value = try_eval(size, values);
    if (!value) return std::nullopt;
    at[trial] = *value;
  }
  int64_t slope, next_slope, rise;
  if (__builtin_sub_overflow(at[1], at[0], &slope) ||
      __builtin_sub_overflow(at[2], at[1], &next_slope) ||
      __builtin_sub_overflow(want, at[0], &rise)) {
    return std::nullopt;
  }
  if (slope == 0 || next_slope != slope) return std::nullopt;
  if (slope == -1) return rise == INT64_MIN ? std::nullopt : std::optional(-rise);
  return rise % slope == 0 ? std::optional(rise / slope) : std::nullopt;
}

std::string range_text(const Symbol& symbol) {
  if (symbol.max == std::numeric_limits<int64_t>::max()) {
    return base::cat(symbol.name, " >= ", symbol.min);
  }
  return base::cat(symbol.name, " in ", symbol.min, "..", symbol.max);
}

// "f32[s0,3] (s0 in 1..64)"
std::string declared_text(const Plan& plan, const TensorType& type) {
  std::set<std::string> used;
  for (const SymInt& size : type.dims)
    size.collect_symbols(used);
  std::vector<std::string> ranges;
  for (const Symbol& symbol : plan.symbols) {
    if (used.contains(symbol.name)) ranges.push_back(range_text(symbol));
  }
  return ranges.empty() ? type.str() : base::cat(type.str(), " (", base::join(ranges, ", "), ")");
}

class Solver {
 public:
  Solver(const Plan& plan, const std::vector<Dims>& dims) : plan_(plan), dims_(dims) {}

  SymbolValues run() {
    for (size_t i = 0; i < dims_.size(); ++i) {
      if (type(i).rank() != dims_[i].size()) report(i, "");
    }
    if (problems_.empty()) {
      while (solve_one()) {
      }
      for (size_t i = 0; i < dims_.size(); ++i)
        check(i);
    }
    if (!problems_.empty()) {
      base::fail("engine", ErrorCode::Mismatch, base::join(problems_, "; "));
    }
    for (const Symbol& symbol : plan_.symbols) {
      if (!values_.contains(symbol.name)) {
        base::fail("engine", ErrorCode::Unsupported, "no input's size determines '", symbol.name,
                   "'");
      }
    }
    check_guards();
    return values_;
  }

 private:
  const TensorType& type(size_t i) const { return plan_.buffers[plan_.inputs[i].buffer].type; }

  void report(size_t i, const std::string& detail) {
    problems_.push_back(base::cat("input '", plan_.inputs[i].name, "': want ",
                                  declared_text(plan_, type(i)), ", have ",
                                  regraft::to_string(dims_[i]), detail));
  }

  // With all values.
  void check_guards() const {
    std::vector<std::string> problems;
    for (const SizeGuard& guard : plan_.guards) {
      if (guard.holds(values_)) continue;
      std::set<std::string> used;
      guard.collect_symbols(used);
      std::vector<std::string> have;
      for (const std::string& name : used)
        have.push_back(base::cat(name, " = ", values_.at(name)));
      problems.push_back(base::cat("want ", guard.str(), ", have ", base::join(have, ", ")));
    }
    if (problems.empty()) return;
    base::fail("engine", ErrorCode::Mismatch,
               "inputs of these sizes go another way than the "
               "program that was exported: ",
               base::join(problems, "; "));
  }

  // Finds the value of one more symbol: first from sizes that are a plain symbol.
  bool solve_one() {
    for (const bool plain : {true, false}) {
      for (size_t i = 0; i < dims_.size(); ++i) {
        for (size_t d = 0; d < dims_[i].size(); ++d) {
          if (solve_size(type(i).dims[d], dims_[i][d], plain)) return true;
        }
      }
    }
    return false;
  }

  bool solve_size(const SymInt& size, int64_t have, bool plain) {
    if (size.is_constant()) return false;
    std::set<std::string> unknown;
    size.collect_symbols(unknown);
    std::erase_if(unknown, [&](const std::string& name) { return values_.contains(name); });
    if (unknown.size() != 1) return false;
    const std::string& symbol = *unknown.begin();
    if (plain && !(size == SymInt::symbol(symbol))) return false;
    const auto value = try_solve(size, symbol, have, values_);
    if (!value) return false;
    values_[symbol] = *value;
    return true;
  }

  void check(size_t i) {
    for (size_t d = 0; d < dims_[i].size(); ++d) {
      const SymInt& size = type(i).dims[d];
      const auto want = try_eval(size, values_);
      if (want && *want == dims_[i][d]) continue;
      return report(i, size.is_constant() || !want
                           ? ""
                           : base::cat(" (size ", d, " is ", dims_[i][d], ", but ", size.str(),
                                       " is ", *want, ")"));
    }
    std::set<std::string> used;
    for (const SymInt& size : type(i).dims)
      size.collect_symbols(used);
    for (const Symbol& symbol : plan_.symbols) {
      if (!used.contains(symbol.name)) continue;
      const int64_t value = values_.at(symbol.name);
      if (value < symbol.min || value > symbol.max) {
        return report(i, base::cat(" (", symbol.name, " = ", value, ")"));
      }
    }
  }

  const Plan& plan_;
  const std::vector<Dims>& dims_;
  SymbolValues values_;
  std::vector<std::string> problems_;
};

}  // namespace

SymbolValues tuned_sizes(const std::vector<Symbol>& symbols) {
  SymbolValues values;
  for (const Symbol& symbol : symbols)
    values[symbol.name] = symbol.tuned_size();
  return values;
}

SymbolValues solve_symbols(const Plan& plan, const std::vector<Dims>& input_dims) {
  if (input_dims.size() != plan.inputs.size()) {
    base::fail("engine", ErrorCode::Mismatch, "want ", plan.inputs.size(), " inputs, have ",
               input_dims.size());
  }
  return Solver(plan, input_dims).run();
}

}  // namespace regraft::plan
