#include "partitioning/partition.h"

namespace regraft::partitioning {

Partition partition(const ir::Graph& graph, const compilation::CompileBackend& backend) {
  Partition out;
  out.backend = backend.name();
  for (const auto& node : graph.nodes()) {
    compilation::Support support = backend.supports(*node);
    if (!support.yes) out.refusals.push_back({node.get(), std::move(support.reason)});
  }
  return out;
}

}  // namespace regraft::partitioning
