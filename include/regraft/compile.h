#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "regraft/cache.h"
#include "regraft/engine.h"
#include "regraft/program.h"

namespace regraft {

// A step of compilation that has just ended, for progress, timing and dumps.
struct CompileEvent {
  std::string_view stage;  // "lower", "partition", "cache", "compile" or "realise".
  // Empty for the stage as a whole, which comes after its passes. Of "cache": "hit", "miss" and,
  // when the entry has been written, "save".
  std::string_view pass;
  double seconds = 0;
  // What the step left, as text (IR, partition or plan). Made when called; valid during the event.
  std::function<std::string()> text;
};

struct CompileOptions {
  // One of backends().
  std::string backend = "cpu";
  // What the program is computed in where it says f32: F32, BF16 or F16. Inputs and outputs keep
  // their declared dtypes, weights are folded in f32 and rounded once.
  DType precision = DType::F32;
  // Products and convolutions of f32 may be calculated in TF32 (10 bits of mantissa, sums in f32)
  // where the backend has it: cuda. Others calculate in f32.
  bool allow_tf32 = false;
  // Sizes to tune for, by symbol of the signature ("s0": 8).
  std::map<std::string, int64_t> optimum;
  // Passes to leave out; see pass_names(). For finding out which one is to blame.
  std::vector<std::string> disabled_passes;
  // The engine starts with the program's own weights. False: a stripped engine, which must be
  // refitted before it runs.
  bool weights = true;
  // Texts to keep in the engine, by key (Engine::metadata). "settings", "in_spec", "out_spec" and
  // "outline" (outline() of the program, a line each) are the compiler's own.
  std::map<std::string, std::string> metadata;
  // Name for messages and reports.
  std::string name = "program";
  EngineOptions engine;
  // Where to look for the plan before compiling it, and to leave it afterwards. A hit gives what
  // compiling would: the weights, names and metadata are those of the program at hand.
  std::shared_ptr<EngineCache> cache;
  bool reuse_cached_engines = true;
  bool cache_built_engines = true;
  // Called on the thread that compiles. What it throws ends the compilation.
  std::function<void(const CompileEvent&)> on_event;
};

// Ops to keep out of engines, for partition().
struct PartitionOptions {
  // Names as PyTorch spells them: "aten.relu", "aten::relu.default", "torch.ops.aten.relu.default".
  // Without an overload: all of them.
  std::vector<std::string> excluded_ops;
  // An engine of fewer nodes is not worth its call: they run outside. Nodes that depend on
  // parameters alone and mere views do not count.
  int64_t min_block_size = 1;
};

// A node of the exported graph that no engine takes.
struct RefusalInfo {
  std::string node;
  std::string op;     // "aten.nonzero.default"
  std::string place;  // "encoder.0, model.py:12 (node nonzero_1)"
  std::string reason;
};

// What a segment reads of the segments before it or of the program's inputs: a tensor or number by
// its name in the exported graph; dim >= 0: that size of the tensor alone.
struct SegmentInput {
  std::string name;
  int dim = -1;
};

// Nodes of the exported graph that run together, by name. Nodes that depend on parameters and sizes
// alone stand in every segment that reads them.
struct SegmentInfo {
  std::string backend;                  // Empty: runs outside of engines (in PyTorch).
  std::vector<std::string> nodes;       // In the order of the graph.
  std::vector<SegmentInput> inputs;     // In the order in which the segment takes them.
  std::vector<std::string> outputs;     // Tensors and numbers that others read or that is returned.
  std::vector<std::string> parameters;  // By canonical name.
};

// Who runs which node of an exported program. Every segment follows those it reads.
struct PartitionInfo {
  std::string backend;
  std::vector<SegmentInfo> segments;
  std::vector<RefusalInfo> refusals;
  size_t nodes = 0;       // Of the exported graph that its outputs need.
  bool is_whole = false;  // One engine can take the program as it is.
};

// Splits a functional program (torch.export's run_decompositions) between engines and what stays
// outside, into as few segments as its data flow allows. Throws Error{"partitioning", Unsupported}
// for programs that cannot be split at all: those that change their buffers or inputs.
PartitionInfo partition(const Program& program, const CompileOptions& options = {},
                        const PartitionOptions& rules = {});
// A table for people: every op that is refused, why and where, and the segments.
std::string to_string(const PartitionInfo& partition);
// The program that a segment with a backend is by itself. Shares the weights.
Program segment_program(const Program& program, const SegmentInfo& segment);

// Makes an engine of a program. Throws Error{"lowering" or "partitioning", Unsupported} that lists
// every op without a kernel with its place in the model, Error{InvalidArgument} for options that do
// not fit, and what Engine::load throws.
Engine compile(const Program& program, const CompileOptions& options = {});

// What compile() looks up in a cache for the program. Throws Error{InvalidArgument} for options
// that do not fit.
CacheKey cache_key(const Program& program, const CompileOptions& options = {});

// What the program computes, to be compared with another export of the model: one line per op,
// "relu:1f3a09bc", then one for the results. The same in every dialect and for other input sizes;
// parameters enter by name, their values do not. Of the options, only those passes that are left
// out matter. Throws Error{"lowering", Unsupported}.
std::vector<std::string> outline(const Program& program, const CompileOptions& options = {});

// Which backend takes which node and why not, and which parameter feeds which constants through
// which steps, as text. Works for programs that compile() refuses.
std::string explain(const Program& program, const CompileOptions& options = {});

// Backends of this build, and the passes of lowering and compilation in their order.
std::vector<std::string> backends();
std::vector<std::string> pass_names();

}  // namespace regraft
