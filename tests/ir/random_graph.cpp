#include "ir/random_graph.h"

#include <limits>
#include <random>

#include "compilation/hoist.h"

namespace regraft::ir::test {
namespace {

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed), graph_(std::make_unique<Graph>()) {}

  std::unique_ptr<Graph> make() {
    graph_->set_symbol({"s0", 1, 64, below(2) == 0 ? 0 : 8});
    if (below(2) == 0) graph_->set_symbol({"batch", 2, std::numeric_limits<int64_t>::max(), 0});
    add_boundary();
    const int64_t count = 1 + below(20);
    for (int64_t i = 0; i < count; ++i)
      add_node();
    const int64_t outputs = 1 + below(3);
    for (int64_t i = 0; i < outputs; ++i) {
      graph_->add_output(below(2) == 0 ? "" : pick<const char*>({"y", "out put", "1"}), value());
    }
    if (below(2) == 0) compilation::hoist(*graph_, {});
    return std::move(graph_);
  }

 private:
  int64_t below(int64_t end) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(end));
  }
  template <typename T>
  T pick(std::vector<T> from) {
    return from[below(static_cast<int64_t>(from.size()))];
  }
  Value* value() { return values_[below(static_cast<int64_t>(values_.size()))]; }

  void add_boundary() {
    const SymInt s0 = SymInt::symbol("s0");
    values_.push_back(graph_->add_input("x", {DType::F32, {s0, 4, 6}}));
    values_.push_back(graph_->add_input("x", {DType::F32, {4, 6}}));
    values_.push_back(graph_->add_input("ids", {DType::I64, {s0 * 2 + 1, 4, 6}}));
    values_.push_back(graph_->add_parameter("weight", {DType::F32, {4, 6}}, {"tied", "a \"b\"\n"}));
    values_.push_back(graph_->add_parameter("layers.0.bias", {DType::F32, {6}}));
    values_.push_back(graph_->add_parameter("odd name", {DType::BF16, {}}));
  }

  Attribute scalar() {
    return pick<Attribute>({Attribute(SymInt(3)), Attribute(SymInt(-1)), Attribute(0.1),
                            Attribute(-0.0), Attribute(1e300), Attribute(true),
                            Attribute(-std::numeric_limits<double>::infinity()),
                            Attribute(std::numeric_limits<double>::quiet_NaN())});
  }

  void add_node() {
    Node* node = nullptr;
    try {
      node = try_node();
    } catch (const Error&) {
      return;  // The operands do not fit together.
    }
    for (Value* output : node->outputs())
      values_.push_back(output);
    if (below(4) == 0) graph_->rename(node->output(), pick<const char*>({"sort", "y.z", "add_1"}));
    if (below(4) == 0) node->set_origin({"exported", "layers.0", "model.py:1"});
  }

  Node* try_node() {
    Value* x = value();
    SymDims order;
    for (size_t i = x->dims().size(); i-- > 0;)
      order.push_back(static_cast<int64_t>(i));
    switch (below(10)) {
      case 0:
        return graph_->add(pick<const char*>({"relu", "neg", "silu", "erf"}), {x});
      case 1:
        return graph_->add(pick<const char*>({"add", "mul", "ge"}), {x, value()});
      case 2:
        return graph_->add("sub", {nullptr, x}, {{"scalar", scalar()}});
      case 3:
        return graph_->add("where", {value(), x, nullptr}, {{"y_scalar", scalar()}});
      case 4:
        return graph_->add("permute", {x}, {{"dims", order}});
      case 5:
        return graph_->add("reshape", {x}, {{"dims", SymDims{-1, 6}}});
      case 6:
        return graph_->add("sort", {x}, {{"dim", SymInt(0)}, {"descending", below(2) == 0}});
      case 7:
        return graph_->add("cast", {x}, {{"dtype", pick<DType>({DType::F16, DType::I64})}});
      case 8:
        return graph_->add("cat", {x, x}, {{"dim", SymInt(0)}});
      default:
        return graph_->add("full", {},
                           {{"dims", SymDims{2, SymInt::symbol("s0"), 6}},
                            {"value", scalar()},
                            {"dtype", DType::F32}});
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<Graph> graph_;
  std::vector<Value*> values_;
};

}  // namespace

std::unique_ptr<Graph> random_graph(uint64_t seed) { return Maker(seed).make(); }

}  // namespace regraft::ir::test
