#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/run/onednn.h"

namespace regraft::cpu {

// What a kernel does to its result before it is stored, in order. Text form, an attribute of steps:
// "add,clip:0:6": items separated by commas, numbers behind colons. The items add, sub, mul, min
// and max take the step's next further input as their right operand.
struct EpilogueItem {
  std::string name;
  std::vector<float> numbers;

  bool is_binary() const;
};

using Epilogue = std::vector<EpilogueItem>;

// What oneDNN calls the item.
dnnl::algorithm algorithm_of(const EpilogueItem& item);

// Throws Error{Unsupported} for an unknown item or a wrong count of numbers.
Epilogue parse_epilogue(std::string_view text);
// The attribute `epilogue` of a step; empty where it has none.
Epilogue epilogue_of(const KernelRequest& request);
// Whether `name` with `numbers` is an item; what the compile side asks through the text.
bool is_epilogue_item(std::string_view name, size_t numbers);

// Adds the items to `post_ops`; binary operands take `operands` in turn and are appended to
// `arguments`. Operands must broadcast to the result as oneDNN wants: of its rank.
void append_post_ops(const Epilogue& epilogue, std::span<const dnnl::memory::desc> operands,
                     dnnl::post_ops& post_ops, std::vector<OnednnCall::Argument>& arguments);

}  // namespace regraft::cpu
