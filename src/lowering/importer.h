#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "lowering/call.h"
#include "lowering/survey.h"
#include "program/impl.h"

namespace regraft::lowering {

// Reads an exported program node by node into a functional graph over the catalogue: follows
// aliases and in-place writes, inlines regions, evaluates size arithmetic, and lowers each ATen op
// by its table entry. One use.
class Importer {
 public:
  Importer(const Program::Impl& program, bool allow_opaque);
  // Throws Error{"lowering", Unsupported} listing every op without a lowering, and for programs
  // that change a parameter, a buffer or an input.
  std::unique_ptr<ir::Graph> run();
  // Imports node by node for a survey: one without a lowering is reported, not refused.
  void survey(const OnNode& on_node);

 private:
  // Uses of one target that has no lowering.
  struct Unsupported {
    std::string target;
    std::string reason;
    std::string first;  // "at layer1.0 (resnet.py:93)"
    int count = 0;
    bool stays_opaque = true;
    bool is_consequence = false;  // Of another one.
  };

  void add_inputs();
  void add_input(const program::InputSpec& spec);
  void bind_size(const program::InputSpec& spec);
  void bind_parameter(const program::InputSpec& spec);
  void add_symbols();
  void tune_for_sizes_that_come();
  void add_outputs();
  void check_writes() const;
  void fail_unsupported() const;

  void run_graph(const program::ExportedGraph& graph);
  void run_node(const program::ExportedGraph& graph, const program::ExportedNode& node);
  void dispatch(const program::ExportedGraph& graph, const program::ExportedNode& node);
  void run_symbolic(const program::ExportedNode& node);
  void run_aten(const program::ExportedGraph& graph, const program::ExportedNode& node,
                std::string_view name);
  bool only_gives_checked_numbers(const program::ExportedGraph& graph,
                                  const program::ExportedNode& node);
  void want_used_results(const program::ExportedNode& node,
                         const std::vector<Binding>& results) const;
  void inline_region(const program::ExportedNode& node, size_t graph_argument);
  void add_opaque(const program::ExportedGraph& graph, const program::ExportedNode& node,
                  const UnsupportedCall& call);
  std::vector<std::optional<TensorType>> stated_types(const program::ExportedGraph& graph,
                                                      const program::ExportedNode& node) const;
  Unsupported& note_unsupported(const program::ExportedNode& node, const UnsupportedCall& call);
  void bind_results(const program::ExportedGraph& graph, const program::ExportedNode& node,
                    std::vector<Binding>& results);
  void bind(const program::ExportedGraph& graph, const std::string& name, Binding binding);
  void specialise(Ref& ref);
  Binding binding_of(const program::ArgumentValue& value);
  TensorType stated_type(const program::ExportedGraph& graph, const std::string& name) const;

  const Program::Impl& program_;
  const bool allow_opaque_;
  std::unique_ptr<ir::Graph> graph_ = std::make_unique<ir::Graph>();
  Environment environment_;
  std::vector<std::shared_ptr<Memory>> inputs_;  // Of graph inputs and parameters.
  std::map<size_t, std::shared_ptr<Memory>> parameters_;
  std::vector<Unsupported> unsupported_;
  const std::set<std::string, std::less<>> used_;     // Names of tensors that something reads.
  const std::set<std::string, std::less<>> numbers_;  // Names of numbers that something reads.
  bool surveys_ = false;
  std::string refusal_;  // Of the node that is surveyed.
};

// "conv2d_3 (aten.conv2d.default) at layer1.0.conv1, resnet.py:93"
std::string location(const program::ExportedNode& node);

}  // namespace regraft::lowering
