#pragma once

#include <map>
#include <vector>

#include "ir/graph.h"

namespace regraft::cpu {

// In which order the dimensions of every value lie in memory, outermost first. Convolutions make
// images channels-last; pointwise ops, pools and concatenations keep the order of what they read;
// a result that is only read through a permutation lies so that the permuted one is row-major.
class Layouts {
 public:
  using Order = std::vector<size_t>;

  explicit Layouts(const ir::Graph& graph);

  const Order& order(const ir::Value* value) const { return orders_.at(value); }
  bool is_row_major(const ir::Value* value) const;
  // Dense strides in the value's order.
  SymDims strides(const ir::Value* value) const;

 private:
  Order result_order(const ir::Node& node) const;
  Order followed(const ir::Node& node) const;

  std::map<const ir::Value*, Order> orders_;
};

}  // namespace regraft::cpu
