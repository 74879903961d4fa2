#include "compilation/fusion/fuse_pointwise.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"
#include "compilation/fusion/pointwise_text.h"
#include "compilation/plan_builder.h"

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Value;

// The run side takes 16 operands; programs longer than this gain nothing by growing.
constexpr size_t kMaxInputs = 12, kMaxNodes = 24;

// Whether packing a constant will not do the node's work anyway.
bool is_program_node(const Node& node) {
  return is_program_op(node) && !PlanBuilder::is_packing_cast(node);
}

// A result and the nodes that only serve it.
class Region {
 public:
  explicit Region(Node* root) : root_(root), nodes_{root} {
    while (grow()) {
    }
  }

  const std::vector<Node*>& nodes() const { return nodes_; }

  void replace(ir::Graph& graph, const FusionTarget& target) const {
    std::vector<Value*> inputs = ordered_inputs();
    std::vector<std::string> lines;
    std::map<const Value*, std::string> names;
    for (size_t i = 0; i < inputs.size(); ++i)
      names[inputs[i]] = base::cat("i", i);
    // In the graph's order, which is an order of definition.
    std::vector<Node*> order;
    for (Node* node : graph.node_list()) {
      if (contains(node)) order.push_back(node);
    }
    for (Node* node : order) {
      names[node->output()] =
          append_instructions(*node, [&](const Value* value) { return names.at(value); }, lines);
    }
    const std::string program =
        base::cat(base::join(lines, "; "), " -> ", names.at(root_->output()));
    Node* made = graph.add_opaque(target.fused("pointwise"), inputs, {{"program", program}},
                                  {root_->output()->type()}, root_, root_->output()->name());
    made->set_region(root_->region());
    made->set_origin(root_->origin());
    graph.replace_uses(root_->output(), made->output());
    for (auto dead = order.rbegin(); dead != order.rend(); ++dead)
      graph.erase(*dead);
  }

 private:
  bool contains(const Node* node) const {
    return std::find(nodes_.begin(), nodes_.end(), node) != nodes_.end();
  }

  bool grow() {
    for (const Node* node : nodes_) {
      for (const Value* input : node->inputs()) {
        if (input == nullptr || !absorbs(*input)) continue;
        nodes_.push_back(input->producer());
        if (external_inputs().size() <= kMaxInputs) return true;
        nodes_.pop_back();
      }
    }
    return false;
  }

  bool absorbs(const Value& value) const {
    Node* producer = value.producer();
    return nodes_.size() < kMaxNodes && producer != nullptr && !contains(producer) &&
           producer->region() == root_->region() && !value.is_graph_output() &&
           value.dims() == root_->output()->dims() && is_program_node(*producer) &&
           std::all_of(
               value.users().begin(), value.users().end(),
               [&](Node* user) { return contains(user); });
  }

  std::set<Value*> external_inputs() const {
    std::set<Value*> out;
    for (const Node* node : nodes_) {
      for (Value* input : node->inputs()) {
        if (input != nullptr && !contains(input->producer())) out.insert(input);
      }
    }
    return out;
  }

  // In the order of first use, those of the result's type first, and of these the ones that nothing
  // else reads.
  std::vector<Value*> ordered_inputs() const {
    std::vector<Value*> inputs;
    for (Node* node : root_->graph().node_list()) {
      if (!contains(node)) continue;
      for (Value* input : node->inputs()) {
        if (input != nullptr && !contains(input->producer()) &&
            std::find(inputs.begin(), inputs.end(), input) == inputs.end()) {
          inputs.push_back(input);
        }
      }
    }
    const auto rank = [&](const Value* value) {
      if (value->type() != root_->output()->type()) return 2;
      const bool dies = std::all_of(value->users().begin(), value->users().end(),
                                    [&](Node* user) { return contains(user); });
      return dies && !value->is_input() && !value->is_parameter() ? 0 : 1;
    };
    std::stable_sort(inputs.begin(), inputs.end(),
                     [&](const Value* a, const Value* b) { return rank(a) < rank(b); });
    return inputs;
  }

  Node* root_;
  std::vector<Node*> nodes_;
};

}  // namespace

void fuse_pointwise(ir::Graph& graph, const FusionTarget& target) {
  std::vector<Node*> nodes = graph.node_list();
  std::set<Node*> done;
  for (auto at = nodes.rbegin(); at != nodes.rend(); ++at) {
    if (done.contains(*at) || !is_program_node(**at)) continue;
    const Region region(*at);
    done.insert(region.nodes().begin(), region.nodes().end());
    region.replace(graph, target);
  }
}

}  // namespace regraft::compilation
