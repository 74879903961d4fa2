#pragma once

#include <map>
#include <set>

#include "ir/graph.h"

namespace regraft::compilation {

// What stays in f32 when the compute program is lowered to 16 bits; see lower_precision.h.
class KeepF32 {
 public:
  explicit KeepF32(const ir::Graph& graph);

  // Nodes of the weight and shape programs, tables, and what leads into a sensitive function.
  bool keeps(const ir::Node& node) const { return kept_.contains(&node); }
  // Not an activation: known without any floating-point input.
  bool is_table(const ir::Value& value) const;

 private:
  void find_tables(const ir::Graph& graph);
  void keep_before_sensitive(const ir::Graph& graph);

  std::map<const ir::Node*, ir::Region> regions_;
  std::set<const ir::Node*> tables_;
  std::set<const ir::Node*> kept_;
};

}  // namespace regraft::compilation
