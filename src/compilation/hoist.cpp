#include "compilation/hoist.h"

#include <algorithm>
#include <set>

#include "base/fail.h"
#include "ir/text.h"

namespace regraft::compilation {
namespace {

using ir::Region;

constexpr double kViewCap = 64 << 10;
constexpr double kComputedCap = 16 << 20;
constexpr int64_t kNominalSize = 512;

double nominal_bytes(const ir::Graph& graph, const TensorType& type) {
  std::set<std::string> names;
  for (const SymInt& size : type.dims)
    size.collect_symbols(names);
  SymbolValues values;
  for (const std::string& name : names)
    values[name] = kNominalSize;
  for (const plan::Symbol& symbol : graph.symbols()) {
    values[symbol.name] =
        symbol.optimum > 0 ? symbol.optimum
                           : std::clamp(kNominalSize, symbol.min, std::max(symbol.min, symbol.max));
  }
  double bytes = static_cast<double>(item_size(type.dtype));
  for (const SymInt& size : type.dims)
    bytes *= static_cast<double>(size.eval(values));
  return bytes;
}

bool has_symbols(const SymDims& sizes) {
  return std::any_of(sizes.begin(), sizes.end(),
                     [](const SymInt& size) { return !size.is_constant(); });
}

// The earliest region for `node`, given `region_of` a producer.
template <typename RegionOf>
Region earliest(const ir::Node& node, const RegionOf& region_of) {
  // Nothing is known about the effects of an op outside the catalogue.
  if (node.op().is_opaque()) return Region::Compute;
  Region region = depends_on_symbols(node) ? Region::Shape : Region::Weight;
  for (const ir::Value* input : node.inputs()) {
    if (input == nullptr || input->is_parameter()) continue;
    region = std::max(region, input->is_input() ? Region::Compute : region_of(*input->producer()));
  }
  return region;
}

class Hoister {
 public:
  Hoister(ir::Graph& graph, const Settings& settings) : graph_(graph), settings_(settings) {}

  void run() {
    region_ = classify(graph_);
    std::vector<ir::Node*> nodes = graph_.node_list();
    for (auto at = nodes.rbegin(); at != nodes.rend(); ++at)
      keep_in_compute(*at);
    for (const auto& node : graph_.nodes())
      node->set_region(region_.at(node.get()));
    sort();
  }

 private:
  void keep_in_compute(ir::Node* node) {
    if (region_.at(node) == Region::Compute) return;
    std::vector<ir::Node*> readers;  // In the compute program.
    size_t uses = 0;
    bool is_output = false;
    for (const ir::Value* output : node->outputs()) {
      is_output = is_output || output->is_graph_output();
      uses += output->users().size();
      for (ir::Node* user : output->users()) {
        if (region_.at(user) == Region::Compute) readers.push_back(user);
      }
    }
    if (readers.empty() && !is_output) return;
    if (!keeps_in_compute(*node, settings_)) return;
    if (readers.size() == uses) {
      region_[node] = Region::Compute;
    } else {
      split(node, readers);
    }
  }

  // A second node for the readers in the compute program.
  void split(ir::Node* node, const std::vector<ir::Node*>& readers) {
    ir::Node* before = nullptr;
    for (const auto& candidate : graph_.nodes()) {
      if (std::find(readers.begin(), readers.end(), candidate.get()) != readers.end()) {
        before = candidate.get();
        break;
      }
    }
    ir::Node* copy =
        graph_.add(node->op().name, node->inputs(), node->attributes(), before, node->name());
    copy->set_origin(node->origin());
    region_[copy] = Region::Compute;
    for (size_t i = 0; i < node->outputs().size(); ++i) {
      for (ir::Node* reader : readers) {
        for (size_t input = 0; input < reader->inputs().size(); ++input) {
          if (reader->input(input) == node->output(i)) {
            graph_.set_input(reader, input, copy->output(i));
          }
        }
      }
      for (size_t k = 0; k < graph_.outputs().size(); ++k) {
        if (graph_.outputs()[k].value == node->output(i)) graph_.set_output(k, copy->output(i));
      }
    }
  }

  void sort() {
    const std::vector<ir::Node*> nodes = graph_.node_list();
    for (const Region region : {Region::Weight, Region::Shape, Region::Compute}) {
      for (ir::Node* node : nodes) {
        if (node->region() == region) graph_.move_before(node, nullptr);
      }
    }
  }

  ir::Graph& graph_;
  const Settings& settings_;
  std::map<const ir::Node*, Region> region_;
};

}  // namespace

bool depends_on_symbols(const ir::Node& node) {
  for (const ir::Value* output : node.outputs()) {
    if (has_symbols(output->dims())) return true;
  }
  for (const auto& [name, value] : node.attributes().entries()) {
    if (const auto* size = std::get_if<SymInt>(&value); size != nullptr && !size->is_constant()) {
      return true;
    }
    if (const auto* sizes = std::get_if<SymDims>(&value); sizes != nullptr && has_symbols(*sizes)) {
      return true;
    }
  }
  return false;
}

bool keeps_in_compute(const ir::Node& node, const Settings& settings) {
  const ops::Op& op = node.op();
  if (!op.has(ops::kView) && !op.has(ops::kPointwise) && !op.has(ops::kCreation)) return false;
  double made_from = 0;
  std::set<const ir::Value*> counted;
  for (const ir::Value* input : node.inputs()) {
    if (input != nullptr && counted.insert(input).second) {
      made_from += nominal_bytes(node.graph(), input->type());
    }
  }
  double bytes = 0;
  for (const ir::Value* output : node.outputs()) {
    bytes += nominal_bytes(node.graph(), output->type());
  }
  const double cap = op.has(ops::kView) ? kViewCap : kComputedCap;
  return bytes > cap && bytes > settings.hoist_growth * made_from;
}

std::map<const ir::Node*, Region> classify(const ir::Graph& graph) {
  std::map<const ir::Node*, Region> regions;
  for (const auto& node : graph.nodes()) {
    regions[node.get()] =
        earliest(*node, [&](const ir::Node& producer) { return regions.at(&producer); });
  }
  return regions;
}

void hoist(ir::Graph& graph, const Settings& settings) { Hoister(graph, settings).run(); }

void verify_hoisted(const ir::Graph& graph, const Settings& settings) {
  for (const auto& node : graph.nodes()) {
    const Region needed =
        earliest(*node, [](const ir::Node& producer) { return producer.region(); });
    if (node->region() == needed) continue;
    if (node->region() == Region::Compute && keeps_in_compute(*node, settings)) continue;
    base::fail("compilation", ErrorCode::Internal, node->output()->text(), " = ", print(*node),
               ": stands in the ", name(node->region()), " program, belongs in the ", name(needed),
               " program");
  }
}

}  // namespace regraft::compilation
