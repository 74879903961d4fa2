#include <algorithm>
#include <map>
#include <set>

#include "base/fail.h"
#include "partitioning/partition.h"

namespace regraft::partitioning {
namespace {

// Refusals of one op for one reason.
struct Group {
  const ir::Node* first = nullptr;
  size_t count = 0;
};

std::map<std::pair<std::string, std::string>, Group> grouped(const Partition& partition) {
  std::map<std::pair<std::string, std::string>, Group> groups;
  for (const Refusal& refusal : partition.refusals) {
    Group& group = groups[{refusal.node->op().name, refusal.reason}];
    if (group.first == nullptr) group.first = refusal.node;
    ++group.count;
  }
  return groups;
}

std::string nodes(size_t count) { return base::cat(count, count == 1 ? " node" : " nodes"); }

std::vector<std::string> refusal_lines(const Partition& partition) {
  std::vector<std::string> lines;
  for (const auto& [key, group] : grouped(partition)) {
    lines.push_back(base::cat("  ", key.first, " (", nodes(group.count), "): ", key.second,
                              "; first at ", place_of(*group.first)));
  }
  return lines;
}

}  // namespace

std::string place_of(const ir::Node& node) {
  const ir::Origin& origin = node.origin();
  std::vector<std::string> parts;
  if (!origin.module_path.empty()) parts.push_back(origin.module_path);
  if (!origin.source_line.empty()) parts.push_back(origin.source_line);
  const std::string name = origin.node.empty() ? node.name() : origin.node;
  return parts.empty() ? "node " + name : base::join(parts, ", ") + " (node " + name + ")";
}

void require_whole(const Partition& partition) {
  if (partition.is_whole()) return;
  const std::vector<std::string> lines = refusal_lines(partition);
  base::fail("partitioning", ErrorCode::Unsupported, "backend ", partition.backend, " cannot take ",
             nodes(partition.refusals.size()), ":\n", base::join(lines, "\n"));
}

std::string explain(const ir::Graph& graph, const Partition& partition) {
  std::set<const ir::Node*> refused;
  for (const Refusal& refusal : partition.refusals)
    refused.insert(refusal.node);
  std::map<std::string, size_t> taken;
  size_t total = 0;
  for (const auto& node : graph.nodes()) {
    if (refused.contains(node.get())) continue;
    ++taken[node->op().name];
    ++total;
  }
  std::string out = base::cat("backend ", partition.backend, " takes ", total, " of ",
                              nodes(graph.nodes().size()), "\n");
  std::vector<std::pair<std::string, size_t>> ops(taken.begin(), taken.end());
  std::stable_sort(ops.begin(), ops.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  for (const auto& [op, count] : ops)
    out += base::cat("  ", op, " x", count, "\n");
  if (partition.is_whole()) return out;
  out += base::cat("it refuses ", nodes(partition.refusals.size()), "\n",
                   base::join(refusal_lines(partition), "\n"), "\n");
  out += "segments, in order\n";
  for (const Segment& segment : partition.segments) {
    out += base::cat("  ", segment.backend.empty() ? "none" : segment.backend, ": ",
                     nodes(segment.nodes.size()), ", from ", segment.nodes.front()->name(), " to ",
                     segment.nodes.back()->name(), "\n");
  }
  return out;
}

}  // namespace regraft::partitioning
