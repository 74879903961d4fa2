#include <algorithm>
#include <map>
#include <set>

#include "base/fail.h"
#include "partitioning/partition.h"
#include "regraft/compile.h"

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

std::string place_of(const ir::Origin& origin) {
  std::vector<std::string> parts;
  if (!origin.module_path.empty()) parts.push_back(origin.module_path);
  if (!origin.source_line.empty()) parts.push_back(origin.source_line);
  const std::string node = "node " + origin.node;
  return parts.empty() ? node : base::cat(base::join(parts, ", "), " (", node, ")");
}

std::string place_of(const ir::Node& node) {
  ir::Origin origin = node.origin();
  if (origin.node.empty()) origin.node = node.name();
  return place_of(origin);
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
  return out;
}

}  // namespace regraft::partitioning

namespace regraft {

std::string to_string(const PartitionInfo& partition) {
  using partitioning::nodes;
  size_t refused = partition.refusals.size();
  std::string out = base::cat("backend ", partition.backend, " takes ", partition.nodes - refused,
                              " of ", nodes(partition.nodes), " of the exported graph\n");
  std::map<std::pair<std::string, std::string>, std::vector<std::string>> groups;
  for (const RefusalInfo& refusal : partition.refusals)
    groups[{refusal.op, refusal.reason}].push_back(refusal.place);
  for (const auto& [key, places] : groups) {
    out += base::cat("  outside: ", key.first, " (", nodes(places.size()), "): ", key.second,
                     "; first at ", places.front(), "\n");
  }
  out += "segments, in order\n";
  for (const SegmentInfo& segment : partition.segments) {
    out += base::cat("  ", segment.backend.empty() ? "PyTorch" : segment.backend, ": ",
                     nodes(segment.nodes.size()), ", from ", segment.nodes.front(), " to ",
                     segment.nodes.back(), "; takes ", segment.inputs.size(), ", gives ",
                     segment.outputs.size(), ", parameters ", segment.parameters.size(), "\n");
  }
  return out;
}

}  // namespace regraft
