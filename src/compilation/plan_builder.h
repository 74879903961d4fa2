#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "plan/plan.h"

namespace regraft::compilation {

// Makes a plan from a verified, hoisted graph, step by step in the graph's order. Gives every value
// its buffer: inputs, outputs and parameters at the boundary, and one constant for every value of
// the weight program (or parameter) that the shape or compute program reads. Buffers are row-major
// unless set_strides says otherwise. The graph must outlive the builder. Not thread-safe.
class PlanBuilder {
 public:
  // `copy_kernel` copies a value to an output that no step can write itself; it gets the attribute
  // dtype, as the op cast.
  PlanBuilder(const ir::Graph& graph, std::string_view backend,
              std::string_view copy_kernel = "reference.cast");

  // ---- buffers ----
  // The buffer in which a node of region `reader` finds `value`, or writes it. Made by the first
  // call. -1 for null.
  int32_t buffer(const ir::Value* value, ir::Region reader);
  // The buffers of the node's inputs and outputs.
  std::vector<int32_t> inputs(const ir::Node& node);
  std::vector<int32_t> outputs(const ir::Node& node);
  // The layout of a result of the shape or compute program, before its buffer is made. An output of
  // the graph with a layout of its own is copied at the end.
  void set_strides(const ir::Value* value, SymDims strides);
  // The rows of a value that is still to be written begin `size` elements apart.
  void pad_rows(const ir::Value* value, SymInt size);
  // Makes the result of a reshape, permute, slice or expand a view of its operand's
  // buffer, so that it needs no step. False, with nothing changed, when strides cannot express it
  // or when it would view a constant, whose bytes may be packed.
  bool try_alias(const ir::Node& node);
  // Makes `value` a view of an existing buffer. For layouts that the IR does not know of.
  void set_view(const ir::Value* value, int32_t of, SymDims strides, SymInt offset);
  // A new buffer of the region's own storage that belongs to no value of the graph.
  int32_t temporary(ir::Region region, TensorType type, std::string_view name);
  const plan::Buffer& at(int32_t buffer) const { return plan_.buffers[buffer]; }

  // ---- steps ----
  // A step for `node` alone with its attributes and buffers, appended to the node's region. The
  // reference is valid until the next call.
  plan::Step& add_step(const ir::Node& node, std::string_view kernel);
  plan::Step& add_step(ir::Region region, plan::Step step);
  // Whether packing does the node's work: a conversion between floats that only constants read.
  static bool is_packing_cast(const ir::Node& node);

  // Copies outputs that no step wrote, records which parameters are indices, and hands the plan
  // over. The builder is then spent.
  plan::Plan finish();

 private:
  int32_t add_storage(plan::StorageKind kind, int32_t index, const TensorType& type);
  int32_t add_buffer(std::string_view name, TensorType type, int32_t storage, SymDims strides,
                     SymInt offset);
  int32_t make_buffer(const ir::Value& value);
  int32_t parameter_buffer(const ir::Value& value);
  int32_t constant_buffer(const ir::Value& value);
  std::string unique_constant_name(const std::string& name) const;
  void add_symbols();
  void guard_indices();

  const ir::Graph& graph_;
  std::string copy_kernel_;
  plan::Plan plan_;
  std::map<const ir::Value*, int32_t> home_;      // Where the value's own region keeps it.
  std::map<const ir::Value*, int32_t> constant_;  // Where later regions read it.
  std::map<const ir::Value*, SymDims> strides_;
  std::map<const ir::Value*, SymInt> row_sizes_;
};

// Row-major strides of symbolic sizes.
SymDims row_major(const SymDims& dims);

}  // namespace regraft::compilation
