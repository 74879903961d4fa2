#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "program/exported.h"

namespace regraft::lowering {

// Memory of the exported program. In-place ops give it a new value instead of writing to it.
struct Memory {
  enum class Kind { Temporary, Parameter, Input };

  ir::Value* value = nullptr;  // What all of it holds now.
  int64_t version = 0;         // Counts writes.
  Kind kind = Kind::Temporary;
  std::string owner;  // FQN or input name.
  // Some tensor may or may not share it (a reshape whose strides are unknown, an unknown op), so a
  // write cannot be followed.
  bool has_unclear_alias = false;
};

// One step from memory to a view of it: a catalogue op and the dims before it.
struct ViewStep {
  std::string op;
  Attributes attributes;
  SymDims from;
};

// A tensor of the exported program: a view of memory. Copies are other names of the same tensor.
struct Ref {
  std::shared_ptr<Memory> memory;
  std::vector<ViewStep> steps;
  // The view's value when the memory was at `version`.
  ir::Value* value = nullptr;
  int64_t version = 0;
  // What the program states of the tensor, or null.
  const program::TensorMeta* meta = nullptr;
};

// Reads and writes through views, emitting nodes at the end of `graph`. Functionalisation as in
// PyTorch: a write to a view computes what all of the memory holds then; other views are taken
// again from it at their next read.
ir::Value* read(ir::Graph& graph, Ref& ref);
// `value` has the ref's dims and dtype. Throws Error{"lowering", Unsupported} for views that cannot
// be written through (expanded ones) and for memory with unclear aliases.
void write(ir::Graph& graph, Ref& ref, ir::Value* value);

// Whether `dims` can be a view of a tensor of these sizes and strides. Nothing when unknown.
std::optional<bool> is_viewable(const program::TensorMeta& meta, const SymDims& dims);
// Whether the strides are row-major.
std::optional<bool> is_contiguous(const program::TensorMeta& meta);

}  // namespace regraft::lowering
