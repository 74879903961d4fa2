#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "plan/plan.h"

namespace regraft::compilation {

// A backend's answer about one node.
struct Support {
  bool yes = false;
  std::string reason;  // Why not, for `explain`; empty for yes.

  static Support supported() { return {true, ""}; }
  static Support no(std::string reason) { return {false, std::move(reason)}; }
};

// What a program is computed in where it says f32.
enum class Precision : uint8_t { F32, BF16, F16 };
std::string_view name(Precision precision);

struct Settings {
  Precision precision = Precision::F32;
  bool allow_tf32 = false;  // For products of f32, where the backend has it.
  std::vector<std::string> disabled_passes;
  // A weight-only or shape-only value is hoisted when it is not larger than this many times what it
  // is made from (and always up to 64 KiB of a view, 16 MiB of a pointwise result or a creation).
  double hoist_growth = 1.5;
};

// The compile side of a backend. Stateless and thread-safe.
class CompileBackend {
 public:
  virtual ~CompileBackend() = default;
  virtual std::string_view name() const = 0;
  // Whether a plan of this backend can hold the node (as exported, before optimisation).
  virtual Support supports(const ir::Node& node) const = 0;
  // Compiles a verified, hoisted graph (every node in its region) to a plan. May change the graph:
  // the caller hands it over.
  virtual plan::Plan compile(ir::Graph& graph, const Settings& settings) const = 0;
};

}  // namespace regraft::compilation
