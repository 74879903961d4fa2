#pragma once

#include "engine/weight_program.h"

namespace regraft::engine {

// Where an operand's bytes are during an evaluation.
struct WeightAddress {
  enum Kind : uint8_t { Absent, Parameter, Temporary, Slot } kind = Absent;
  int32_t index = -1;  // Parameter, storage or slot.
  size_t offset = 0;   // Within it; of a temporary: within the unit's scratch, once placed.
};

// A weight step, the packing of a slot, or both in one kernel.
struct WeightProgram::Op {
  int32_t step = -1;  // Of plan.weight_steps; -1 for a packing alone.
  int32_t slot = -1;  // Packed slot; -1 for a step alone.
  std::unique_ptr<backends::Kernel> kernel;
  std::vector<WeightAddress> inputs, outputs;
  size_t bytes = 0;  // Read and written: its weight in the schedule.
};

// Ops that share temporaries. Different units can run at the same time.
struct WeightProgram::Unit {
  std::vector<int32_t> ops;  // In order.
  size_t scratch = 0;
  size_t workspace = 0;
};

// One evaluation.
struct WeightProgram::Run {
  const WeightJob& job;
  std::vector<const std::byte*> read;  // By slot.
  // By slot: where ops write it. A slot that is not wanted, but written by an op that is needed for
  // another, goes to memory that is thrown away.
  std::vector<std::byte*> write;
};

}  // namespace regraft::engine
