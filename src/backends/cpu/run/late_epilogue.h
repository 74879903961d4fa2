#pragma once

#include <span>

#include "backends/cpu/run/epilogue.h"

namespace regraft::cpu {

// The items of an epilogue that a primitive left over, applied to its result where it lies.
// Thread-safe.
class LateEpilogue {
 public:
  LateEpilogue() = default;
  // The first of `items` is binary. `operands` as for append_post_ops. Throws dnnl::error.
  LateEpilogue(const Epilogue& items, const dnnl::memory::desc& result,
               std::span<const dnnl::memory::desc> operands);

  void run(void* result, std::span<void* const> operands, void* scratchpad) const;
  size_t scratchpad_bytes() const { return call_.scratchpad_bytes(); }
  explicit operator bool() const { return static_cast<bool>(call_); }

 private:
  OnednnCall call_;
};

}  // namespace regraft::cpu
