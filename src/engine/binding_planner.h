#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/binding.h"

namespace regraft::engine {

// Decides where every buffer of a binding lies. Used while a Binding is made.
class BindingPlanner {
 public:
  BindingPlanner(const plan::Plan& plan, const SlotTable& slots, const Shaped& shaped);

  // Prepares the kernels of a program; `workspace` becomes the most that one of them needs.
  std::vector<PreparedStep> prepare_steps(ProgramKind program, size_t& workspace) const;
  std::vector<OutputCopy> output_copies() const;
  size_t arena_bytes() const { return arena_bytes_; }
  size_t shape_bytes() const { return shape_bytes_; }
  size_t base_count() const {
    return kFirst + plan_.inputs.size() + plan_.outputs.size() + slots_.slots.size();
  }

 private:
  void share_memory_in_place();
  void place_compute();
  void place_shapes();
  int32_t merged(int32_t storage) const;
  Address address(int32_t buffer, int32_t slot) const;

  const plan::Plan& plan_;
  const SlotTable& slots_;
  const Shaped& shaped_;
  std::vector<int32_t> first_, last_;  // By storage: compute steps that use it.
  std::vector<int32_t> same_as_;       // By storage: the one whose memory it takes over, or -1.
  std::vector<size_t> offsets_;        // By storage: in the arena or among the shape values.
  size_t arena_bytes_ = 0, shape_bytes_ = 0;
};

}  // namespace regraft::engine
