#include "lowering/passes/rewrite.h"

#include "lowering/values.h"

namespace regraft::lowering::passes {

ir::Value* Rewriter::emit(std::string_view op, const std::vector<ir::Value*>& inputs,
                          Attributes attributes) {
  ir::Node* node =
      graph_.add(op, inputs, std::move(attributes), root_, root_->name() + "." + std::string(op));
  node->set_origin(root_->origin());
  return node->output();
}

ir::Value* Rewriter::reshape(ir::Value* x, const SymDims& dims) {
  return x->dims() == dims ? x : emit("reshape", {x}, {{"dims", dims}});
}

ir::Value* Rewriter::transpose(ir::Value* x) {
  const ir::Node* permute = producer(x, "permute");
  if (permute != nullptr && swaps_last_two(permute)) return permute->input(0);
  const size_t rank = x->dims().size();
  SymDims order;
  for (size_t i = 0; i < rank; ++i)
    order.push_back(static_cast<int64_t>(i));
  std::swap(order[rank - 1], order[rank - 2]);
  return emit("permute", {x}, {{"dims", order}});
}

void Rewriter::replace_root(ir::Value* by) {
  ir::Value* old = root_->output();
  const std::string name = old->name();
  // Names of exported nodes have no dots: a value that a pass or the import made takes them over.
  const bool is_made = by->producer() != nullptr && by->name().find('.') != std::string::npos &&
                       name.find('.') == std::string::npos;
  graph_.replace_uses(old, by);
  if (!is_made) return;
  graph_.rename(old, name + ".replaced");
  graph_.rename(by, name);
}

}  // namespace regraft::lowering::passes
