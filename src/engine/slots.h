#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backends/run_backend.h"
#include "engine/shaped.h"
#include "plan/plan.h"

namespace regraft::engine {

// A block of the bank: one physical form of a logical value. Constants with one source and one
// form (tied weights) share a slot.
struct Slot {
  int32_t source = -1;  // Buffer: Parameter or Weight.
  DType dtype = DType::F32;
  Dims dims;
  backends::Packing packing;
  std::string backend;             // Whose packing it is; empty for plain.
  std::vector<int32_t> constants;  // Which constants it holds.
  int32_t copy_of = -1;            // The parameter whose bytes it holds unchanged.
};

// Which slot each constant operand reads.
struct SlotTable {
  std::vector<Slot> slots;
  // By step and input; -1 where the input is no constant.
  std::vector<std::vector<int32_t>> shape_inputs, compute_inputs;
  std::vector<int32_t> outputs;  // By output port; -1 where it is no constant.
  // KernelRequest::tactic of the compute steps at the optimum shapes; none: empty everywhere.
  std::vector<std::string> tactics;
  SymbolValues optimum;
};

enum class ProgramKind : uint8_t { Shape = 0, Compute = 1 };

// One choice: the packing that a step wants for an input.
using PackingChooser = std::function<backends::Packing(
    ProgramKind program, size_t step, size_t input, const backends::KernelRequest& request)>;

// Asks `choose` for every constant operand that is the whole constant; views of one are plain.
SlotTable choose_slots(const plan::Plan& plan, const Shaped& optimum, const PackingChooser& choose);

// A table of plain slots, one for each constant.
SlotTable plain_slots(const plan::Plan& plan, const Shaped& statics);

}  // namespace regraft::engine
