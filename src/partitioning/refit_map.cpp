#include "partitioning/refit_map.h"

#include <algorithm>
#include <map>

#include "base/text.h"

namespace regraft::partitioning {
namespace {

bool is_constant(const ir::Value& value) {
  return value.is_graph_output() ||
         std::any_of(value.users().begin(), value.users().end(),
                     [](const ir::Node* user) { return user->region() != ir::Region::Weight; });
}

// What one parameter reaches: the weight nodes that depend on it.
std::vector<const ir::Node*> reached(const ir::Graph& graph, const ir::Value& parameter) {
  std::vector<const ir::Node*> out;
  for (const auto& node : graph.nodes()) {
    if (node->region() != ir::Region::Weight) continue;
    const bool depends =
        std::any_of(node->inputs().begin(), node->inputs().end(), [&](const ir::Value* input) {
          if (input == &parameter) return true;
          return input != nullptr && input->producer() != nullptr &&
                 std::find(out.begin(), out.end(), input->producer()) != out.end();
        });
    if (depends) out.push_back(node.get());
  }
  return out;
}

// Those of `nodes` that `constant` is computed by.
std::vector<const ir::Node*> leading_to(const ir::Value& constant,
                                        const std::vector<const ir::Node*>& nodes) {
  std::vector<const ir::Node*> wanted = {constant.producer()};
  std::vector<const ir::Node*> out;
  for (auto at = nodes.rbegin(); at != nodes.rend(); ++at) {
    if (std::find(wanted.begin(), wanted.end(), *at) == wanted.end()) continue;
    out.insert(out.begin(), *at);
    for (const ir::Value* input : (*at)->inputs()) {
      if (input != nullptr && input->producer() != nullptr) wanted.push_back(input->producer());
    }
  }
  return out;
}

}  // namespace

std::vector<RefitPath> refit_map(const ir::Graph& graph) {
  std::vector<RefitPath> paths;
  for (const ir::Graph::Parameter& parameter : graph.parameters()) {
    const ir::Value& value = *parameter.value;
    if (is_constant(value)) paths.push_back({&value, &value, {}});
    const std::vector<const ir::Node*> nodes = reached(graph, value);
    for (const ir::Node* node : nodes) {
      for (const ir::Value* output : node->outputs()) {
        if (is_constant(*output)) paths.push_back({&value, output, leading_to(*output, nodes)});
      }
    }
  }
  return paths;
}

std::string refit_map_text(const ir::Graph& graph) {
  std::map<const ir::Value*, std::vector<std::string>> lines;
  for (const RefitPath& path : refit_map(graph)) {
    std::vector<std::string> steps;
    for (const ir::Node* node : path.steps)
      steps.push_back(node->op().name);
    const std::string constant =
        path.constant == path.parameter
            ? "as it is"
            : path.constant->text() + " through " + base::join(steps, ", ");
    lines[path.parameter].push_back(constant);
  }
  std::string out;
  for (const ir::Graph::Parameter& parameter : graph.parameters()) {
    out += parameter.value->text() + ": " + parameter.value->type().str();
    for (const std::string& alias : parameter.aliases)
      out += " = @" + alias;
    const auto& constants = lines[parameter.value];
    out += constants.empty() ? " feeds nothing\n" : "\n";
    for (const std::string& constant : constants)
      out += "  -> " + constant + "\n";
  }
  return out;
}

}  // namespace regraft::partitioning
