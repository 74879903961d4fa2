#include <unordered_map>

#include "lowering/aten/aten.h"

namespace regraft::lowering::aten {

extern const AtenTable k_attention, k_convolution, k_copy, k_creation, k_einsum, k_embedding_bag,
    k_index, k_matmul, k_norm, k_pointwise, k_pool, k_reduce, k_resize, k_size, k_slice, k_view;

namespace {

const AtenTable* const kTables[] = {
    &k_attention, &k_convolution, &k_copy,  &k_creation,  &k_einsum, &k_embedding_bag,
    &k_index,     &k_matmul,      &k_norm,  &k_pointwise, &k_pool,   &k_reduce,
    &k_resize,    &k_size,        &k_slice, &k_view,
};

using Index = std::unordered_map<std::string, Lowering>;

// `relu_`; `a &= b` is __iand__.
std::string in_place_name(const std::string& name) {
  return name.starts_with("__") ? "__i" + name.substr(2) : name + "_";
}

Index build() {
  Index index;
  for (const AtenTable* table : kTables) {
    for (const AtenOp& op : *table) {
      Lowering lowering{Signature::parse(op.signature), {}, op.handler, false};
      if (op.handler == nullptr) lowering.rule = Rule::parse(op.rule, lowering.signature);
      for (const std::string& overload : lowering.signature.overloads) {
        const std::string name = lowering.signature.op + "." + overload;
        if (!index.emplace(name, lowering).second) {
          base::fail("lowering", ErrorCode::Internal, "two lowerings of ", name);
        }
      }
    }
  }
  Index in_place;
  for (const auto& [name, lowering] : index) {
    Lowering twin = lowering;
    twin.is_in_place = true;
    const std::string& op = lowering.signature.op;
    in_place.emplace(in_place_name(op) + name.substr(op.size()), std::move(twin));
  }
  index.merge(in_place);  // Entries of the tables stay.
  return index;
}

}  // namespace

void Lowering::run(Call& call) const {
  if (handler != nullptr) {
    handler(call);
  } else {
    rule.apply(call);
  }
  if (!is_in_place || signature.arguments.empty() || call.results().empty()) return;
  const std::string& self = signature.arguments[0].name;
  const Ref* ref = std::get_if<Ref>(&call.results()[0]);
  if (ref == nullptr) call.unsupported("an in-place op without a tensor result");
  Ref result = *ref;
  call.results().clear();
  if (result.memory == call.ref(self).memory) {
    // A view of the argument (unsqueeze_) or the argument itself (dropout_ in evaluation).
    call.rebind(self, result);
    call.result(std::move(result));
    return;
  }
  call.write(self, result.value);
}

const Lowering* find(std::string_view target) {
  static const Index index = build();
  const auto found = index.find(std::string(target));
  return found == index.end() ? nullptr : &found->second;
}

}  // namespace regraft::lowering::aten
