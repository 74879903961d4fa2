#include "backends/cpu/run/late_epilogue.h"

#include <algorithm>
#include <array>

namespace regraft::cpu {

LateEpilogue::LateEpilogue(const Epilogue& items, const dnnl::memory::desc& result,
                           std::span<const dnnl::memory::desc> operands) {
  std::vector<OnednnCall::Argument> arguments{
      {DNNL_ARG_SRC_0, result}, {DNNL_ARG_SRC_1, operands[0]}, {DNNL_ARG_DST, result}};
  dnnl::post_ops post_ops;
  append_post_ops({items.begin() + 1, items.end()}, operands.subspan(1), post_ops, arguments);
  dnnl::primitive_attr attributes = user_scratchpad_attr();
  attributes.set_post_ops(post_ops);
  const dnnl::binary::primitive_desc descriptor(onednn_engine(), algorithm_of(items[0]), result,
                                                operands[0], result, attributes);
  call_ = OnednnCall(dnnl::binary(descriptor), arguments, descriptor.scratchpad_desc());
}

void LateEpilogue::run(void* result, std::span<void* const> operands, void* scratchpad) const {
  std::array<void*, 16> addresses{result, operands[0], result};
  std::copy(operands.begin() + 1, operands.end(), addresses.begin() + 3);
  call_.run(std::span(addresses).first(operands.size() + 2), scratchpad);
}

}  // namespace regraft::cpu
