#include "partitioning/partition.h"

#include <algorithm>
#include <map>
#include <set>

#include "compilation/rewrite.h"

namespace regraft::partitioning {
namespace {

// Numbers nodes so that equal numbers may run together: even for the backend, odd for nobody, never
// below the number of an operand. An edge then never leads back to a lower number.
class Levels {
 public:
  Levels(const ir::Graph& graph, const std::set<const ir::Node*>& refused) : weights_(graph) {
    for (const auto& node : graph.nodes()) {
      if (is_weight_only(*node, refused)) continue;
      int level = 0;
      for (const ir::Value* input : node->inputs()) {
        if (input == nullptr || input->producer() == nullptr) continue;
        const auto found = level_.find(input->producer());
        if (found != level_.end()) level = std::max(level, found->second);
      }
      const int parity = refused.contains(node.get()) ? 1 : 0;
      level_[node.get()] = level % 2 == parity ? level : level + 1;
    }
  }

  // -1 for a node that goes wherever it is read.
  int of(const ir::Node& node) const {
    const auto found = level_.find(&node);
    return found == level_.end() ? -1 : found->second;
  }

 private:
  bool is_weight_only(const ir::Node& node, const std::set<const ir::Node*>& refused) const {
    if (refused.contains(&node)) return false;
    const bool is_output =
        std::any_of(node.outputs().begin(), node.outputs().end(),
                    [](const ir::Value* output) { return output->is_graph_output(); });
    return !is_output && weights_.contains(node.output()) &&
           std::none_of(node.inputs().begin(), node.inputs().end(), [&](const ir::Value* input) {
             return input != nullptr && input->producer() != nullptr &&
                    level_.contains(input->producer());
           });
  }

  compilation::WeightValues weights_;
  std::map<const ir::Node*, int> level_;
};

// The levels that read a weight-only node, directly or through others.
std::map<const ir::Node*, std::set<int>> readers_of(const ir::Graph& graph, const Levels& levels) {
  std::map<const ir::Node*, std::set<int>> readers;
  const std::vector<ir::Node*> nodes = graph.node_list();
  for (auto at = nodes.rbegin(); at != nodes.rend(); ++at) {
    if (levels.of(**at) >= 0) {
      readers[*at] = {levels.of(**at)};
      continue;
    }
    std::set<int>& mine = readers[*at];
    for (const ir::Value* output : (*at)->outputs()) {
      for (const ir::Node* user : output->users()) {
        mine.insert(readers[user].begin(), readers[user].end());
      }
    }
  }
  return readers;
}

}  // namespace

Partition partition(const ir::Graph& graph, const compilation::CompileBackend& backend) {
  Partition out;
  out.backend = backend.name();
  std::set<const ir::Node*> refused;
  for (const auto& node : graph.nodes()) {
    compilation::Support support = backend.supports(*node);
    if (support.yes) continue;
    refused.insert(node.get());
    out.refusals.push_back({node.get(), std::move(support.reason)});
  }
  const Levels levels(graph, refused);
  const auto readers = readers_of(graph, levels);
  std::map<int, Segment> by_level;
  for (const auto& node : graph.nodes()) {
    for (const int level : readers.at(node.get())) {
      Segment& segment = by_level[level];
      segment.backend = level % 2 == 0 ? out.backend : "";
      segment.nodes.push_back(node.get());
    }
  }
  for (auto& [level, segment] : by_level)
    out.segments.push_back(std::move(segment));
  return out;
}

}  // namespace regraft::partitioning
