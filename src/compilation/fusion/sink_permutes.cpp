#include "compilation/fusion/sink_permutes.h"

#include <algorithm>

#include "compilation/fusion/epilogue_item.h"
#include "compilation/rewrite.h"

namespace regraft::compilation {
namespace {

using ir::Node;
using ir::Region;
using ir::Value;

bool is_product(const Node& node) {
  return node.region() != Region::Weight && (node.is("linear") || node.is("matmul"));
}

Region region_of(const Value& value) {
  if (value.is_parameter()) return Region::Weight;
  return value.is_input() ? Region::Compute : value.producer()->region();
}

SymDims inverse(const Node& permute) {
  const auto rank = static_cast<int64_t>(permute.output()->dims().size());
  SymDims out(static_cast<size_t>(rank), 0);
  const Dims dims = permute.attributes().integers("dims");
  for (size_t i = 0; i < dims.size(); ++i) {
    out[static_cast<size_t>(dims[i] < 0 ? dims[i] + rank : dims[i])] = static_cast<int64_t>(i);
  }
  return out;
}

// A view of `value` by `op`, in the value's own region; `near` is where it is wanted.
Value* add_view(ir::Graph& graph, std::string_view op, Value* value, Attributes attributes,
                Node* near) {
  const Region region = region_of(*value);
  Node* before = near;
  if (region != near->region()) {
    // Behind its producer, among the nodes of its region.
    before =
        value->producer() == nullptr ? graph.nodes().front().get() : graph.next(value->producer());
  }
  Node* made = graph.add(op, {value}, std::move(attributes), before, value->name());
  made->set_region(region);
  made->set_origin(near->origin());
  return made->output();
}

// `other`, which broadcasts against the permute's result, as it broadcasts against its operand.
Value* permuted_back(ir::Graph& graph, Value* other, const Node& permute, Node* near) {
  const size_t rank = permute.output()->dims().size();
  const Node* producer = other->producer();
  if (producer != nullptr && producer->is("permute") &&
      producer->attributes() == permute.attributes()) {
    return producer->input(size_t{0});
  }
  if (other->dims().size() < rank) {
    SymDims dims(rank - other->dims().size(), 1);
    dims.insert(dims.end(), other->dims().begin(), other->dims().end());
    other = add_view(graph, "reshape", other, {{"dims", dims}}, near);
  }
  return add_view(graph, "permute", other, {{"dims", inverse(permute)}}, near);
}

// Whether an epilogue could take `reader` over if its operands were permuted back.
bool is_sinkable(const Node& reader, const Node& permute) {
  if (reader.op().is_opaque() || reader.region() != permute.region() ||
      reader.output()->type() != permute.output()->type()) {
    return false;
  }
  constexpr std::string_view kBinary[] = {"add", "sub", "mul", "minimum", "maximum"};
  const bool is_binary = std::any_of(std::begin(kBinary), std::end(kBinary),
                                     [&](std::string_view name) { return reader.is(name); });
  if (is_binary && reader.input(size_t{0}) != nullptr && reader.input(1) != nullptr) {
    return reader.input(size_t{0}) != reader.input(1);
  }
  return epilogue_item(reader, permute.output()).has_value();
}

// Moves `reader` in front of `permute`; gives the reader's new result.
Value* sink(ir::Graph& graph, Node* permute, Node* reader) {
  std::vector<Value*> inputs;
  for (Value* input : reader->inputs()) {
    inputs.push_back(input == nullptr             ? nullptr
                     : input == permute->output() ? permute->input(size_t{0})
                                                  : permuted_back(graph, input, *permute, reader));
  }
  Node* moved = graph.add(reader->op().name, inputs, reader->attributes(), reader, reader->name());
  moved->set_region(reader->region());
  moved->set_origin(reader->origin());
  Node* after =
      graph.add("permute", {moved->output()}, permute->attributes(), reader, permute->name());
  after->set_region(permute->region());
  after->set_origin(permute->origin());
  graph.replace_uses(reader->output(), after->output());
  graph.erase(reader);
  graph.erase(permute);
  return moved->output();
}

}  // namespace

void sink_permutes(ir::Graph& graph) {
  std::vector<Node*> products;
  for (Node* node : graph.node_list()) {
    if (is_product(*node)) products.push_back(node);
  }
  for (const Node* product : products) {
    const Value* value = product->output();
    while (has_one_use(*value)) {
      Node* reader = value->users().front();
      if (reader->is("permute") && has_one_use(*reader->output()) &&
          is_sinkable(*reader->output()->users().front(), *reader)) {
        value = sink(graph, reader, reader->output()->users().front());
      } else if (reader->region() == product->region() && epilogue_item(*reader, value)) {
        value = reader->output();
      } else {
        break;
      }
    }
  }
}

}  // namespace regraft::compilation
