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

// Which nodes of a lowered graph a backend does not take. Points into the graph, which must outlive
// it unchanged.
struct Partition {
  std::string backend;
  std::vector<Refusal> refusals;

  bool is_whole() const { return refusals.empty(); }
};

Partition partition(const ir::Graph& graph, const compilation::CompileBackend& backend);

// Throws Error{"partitioning", Unsupported} that lists every op the backend refuses: why, how many
// nodes use it, and where in the model the first one stands.
void require_whole(const Partition& partition);

// A table for people: ops with the number of nodes that the backend takes, and those it refuses
// with reason and place.
std::string explain(const ir::Graph& graph, const Partition& partition);

// "encoder.layers.0.mlp, model.py:120 (node add_3)"
std::string place_of(const ir::Origin& origin);
std::string place_of(const ir::Node& node);

}  // namespace regraft::partitioning
