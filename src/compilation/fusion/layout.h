#pragma once

#include <optional>
#include <vector>

#include "compilation/fusion/target.h"
#include "compilation/plan_builder.h"
#include "ir/graph.h"

namespace regraft::compilation {

// In which order the dimensions of a tensor lie in memory, outermost first.
using MemoryOrder = std::vector<size_t>;

// Chooses how results lie in memory, one node after the other, from how the node's inputs lie.
// Convolutions make images channels-last; pointwise ops, products, pools and concatenations keep
// the order of what they read, attention that of the query; another product that is only read
// through a permutation lies so that the permuted one is row-major. Symbols stand for their optimum
// or a sample size.
class Layouts {
 public:
  Layouts(const ir::Graph& graph, PlanBuilder& builder, const FusionTarget& target);

  // Of the first result of `node`, whose inputs have their buffers.
  MemoryOrder result_order(const ir::Node& node) const;
  // The size that the rows of the first result are padded to; nothing where they are dense.
  std::optional<SymInt> row_size(const ir::Node& node) const;
  // Dense strides for `order`; nothing where that is row-major.
  static SymDims strides(const SymDims& dims, const MemoryOrder& order);
  static bool is_row_major(const MemoryOrder& order);

 private:
  MemoryOrder order_of(const ir::Value* value, ir::Region reader) const;
  MemoryOrder followed(const ir::Node& node, bool any_size) const;

  bool follows_first(const ir::Node& node) const;
  bool works_on_rows(const ir::Node& node) const;

  PlanBuilder& builder_;
  const FusionTarget& target_;
  SymbolValues sample_;
};

}  // namespace regraft::compilation
