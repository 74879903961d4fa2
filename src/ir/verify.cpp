#include "ir/verify.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/fail.h"
#include "ir/text.h"

namespace regraft::ir {
namespace {

class Verifier {
 public:
  explicit Verifier(const Graph& graph) : graph_(graph) {}

  void run() {
    for (const Value* input : graph_.inputs()) {
      defined_.insert(input);
      for (const SymInt& size : input->dims())
        size.collect_symbols(symbols_);
    }
    for (const SizeGuard& guard : graph_.guards()) {
      std::set<std::string> names;
      guard.collect_symbols(names);
      if (!std::ranges::includes(symbols_, names)) {
        fail("guard ", guard.str(), ": not of sizes of inputs");
      }
    }
    for (const Graph::Parameter& parameter : graph_.parameters()) {
      defined_.insert(parameter.value);
      check_parameter(*parameter.value);
    }
    for (const auto& node : graph_.nodes())
      check_node(*node);
    for (const Graph::Output& output : graph_.outputs()) {
      if (output.value == nullptr || !defined_.contains(output.value)) {
        fail("output '", output.name, "' is not a value of the graph");
      }
    }
    for (const Value* value : defined_)
      check_users(*value);
  }

 private:
  template <typename... Parts>
  [[noreturn]] static void fail(const Parts&... parts) {
    base::fail("ir", ErrorCode::Internal, parts...);
  }

  static std::string where(const Node& node) { return node.output()->text() + " = " + print(node); }

  static void check_parameter(const Value& parameter) {
    for (const SymInt& size : parameter.dims()) {
      if (!size.is_constant()) {
        fail(parameter.text(), ": want constant sizes, have ", parameter.type().str());
      }
    }
  }

  void check_node(const Node& node) {
    if (node.outputs().empty()) fail(node.op().name, " has no results");
    for (const Value* input : node.inputs()) {
      if (input == nullptr) continue;
      ++uses_[input];
      if (!defined_.contains(input)) {
        fail(where(node), ": ", input->text(), " is not defined before its use");
      }
      check_region(node, *input);
    }
    for (size_t i = 0; i < node.outputs().size(); ++i) {
      const Value* output = node.outputs()[i];
      if (output->producer() != &node || output->output_index() != i) {
        fail(where(node), ": ", output->text(), " names another producer");
      }
      defined_.insert(output);
      for (const SymInt& size : output->dims()) {
        // How many elements are not zero, say, is known when PyTorch has counted them.
        if (node.op().is_opaque()) size.collect_symbols(symbols_);
        check_symbols(node, size);
      }
    }
    for (const auto& [name, value] : node.attributes().entries()) {
      if (const auto* size = std::get_if<SymInt>(&value)) check_symbols(node, *size);
      if (const auto* sizes = std::get_if<SymDims>(&value)) {
        for (const SymInt& size : *sizes)
          check_symbols(node, size);
      }
    }
    if (!node.op().is_opaque()) check_types(node);
  }

  static void check_region(const Node& node, const Value& input) {
    Region region = Region::Weight;
    if (input.is_input()) region = Region::Compute;
    if (input.producer() != nullptr) region = input.producer()->region();
    if (region > node.region()) {
      fail(where(node), ": a ", name(node.region()), " node reads ", input.text(),
           ", which is known only in ", name(region));
    }
  }

  void check_symbols(const Node& node, const SymInt& size) const {
    std::set<std::string> names;
    size.collect_symbols(names);
    for (const std::string& symbol : names) {
      if (!symbols_.contains(symbol)) {
        fail(where(node), ": symbol ", symbol, " is not in the sizes of any input");
      }
    }
  }

  static void check_types(const Node& node) {
    std::vector<const TensorType*> inputs;
    for (const Value* input : node.inputs()) {
      inputs.push_back(input == nullptr ? nullptr : &input->type());
    }
    Attributes attributes = node.attributes();
    const std::vector<TensorType> types = ops::infer_types(node.op(), inputs, attributes);
    if (!(attributes == node.attributes())) fail(where(node), ": attributes are not complete");
    if (types.size() != node.outputs().size()) {
      fail(where(node), ": want ", types.size(), " results, have ", node.outputs().size());
    }
    for (size_t i = 0; i < types.size(); ++i) {
      if (!(types[i] == node.outputs()[i]->type())) {
        fail(where(node), ": result ", i, ": want ", types[i].str(), ", have ",
             node.outputs()[i]->type().str());
      }
    }
  }

  void check_users(const Value& value) const {
    const auto found = uses_.find(&value);
    const size_t uses = found == uses_.end() ? 0 : found->second;
    if (value.users().size() != uses) {
      fail(value.text(), ": ", uses, " uses, but ", value.users().size(), " users on record");
    }
  }

  const Graph& graph_;
  std::set<const Value*> defined_;
  std::set<std::string> symbols_;
  std::map<const Value*, size_t> uses_;
};

}  // namespace

void verify(const Graph& graph) { Verifier(graph).run(); }

}  // namespace regraft::ir
