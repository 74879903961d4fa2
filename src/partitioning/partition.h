#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compilation/compile_backend.h"
#include "ir/graph.h"

namespace regraft::partitioning {

// A node that the backend does not take, and why.
struct Refusal {
  const ir::Node* node = nullptr;
  std::string reason;
};

// Nodes that run together. Nodes that depend on parameters alone stand in every segment that reads
// them, so that each segment computes its own constants.
struct Segment {
  std::string backend;                 // Empty: no backend takes these nodes.
  std::vector<const ir::Node*> nodes;  // In the order of the graph.
};

// Who runs which node of a graph. Points into the graph, which must outlive it unchanged.
struct Partition {
  std::string backend;
  // In an order in which every segment follows those it reads: segments never wait for each other.
  std::vector<Segment> segments;
  std::vector<Refusal> refusals;

  bool is_whole() const { return refusals.empty(); }
};

Partition partition(const ir::Graph& graph, const compilation::CompileBackend& backend);

// Throws Error{"partitioning", Unsupported} that lists every op the backend refuses: why, how many
// nodes use it, and where in the model the first one stands.
void require_whole(const Partition& partition);

// A table for people: ops with the number of nodes that the backend takes, those it refuses with
// reason and place, and the segments.
std::string explain(const ir::Graph& graph, const Partition& partition);

// "encoder.layers.0.mlp, model.py:120 (node add_3)"
std::string place_of(const ir::Node& node);

}  // namespace regraft::partitioning
