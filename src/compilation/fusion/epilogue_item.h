#pragma once

#include <optional>
#include <string>

#include "ir/graph.h"

namespace regraft::compilation {

// What a reader of a product adds to its epilogue; see run/epilogue.h.
struct EpilogueItem {
  std::string text;
  ir::Value* operand = nullptr;  // The other operand of a binary item.
  bool is_full = true;           // Of the value's dims; else one number per column.
};

// Nothing where `node`, which reads `value`, is no such op, or its other operand has neither the
// dims of `value` nor one number per column (its last dimension).
std::optional<EpilogueItem> epilogue_item(const ir::Node& node, const ir::Value* value);

}  // namespace regraft::compilation
