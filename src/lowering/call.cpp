#include "lowering/call.h"

#include <algorithm>
#include <cmath>

#include "base/fail.h"

namespace regraft::lowering {

using program::ArgumentValue;

Call::Call(ir::Graph& graph, Environment& environment, const program::ExportedNode& node,
           const program::ExportedGraph& exported, const Signature& signature)
    : graph_(graph),
      environment_(environment),
      node_(node),
      exported_(exported),
      signature_(signature) {
  for (const program::NamedArgument& argument : node.inputs) {
    // They say where and how a tensor lies in memory, which values do not depend on.
    static constexpr std::string_view kIgnored[] = {"device", "layout", "pin_memory",
                                                    "memory_format", "non_blocking"};
    if (signature.find(argument.name) == nullptr &&
        std::find(std::begin(kIgnored), std::end(kIgnored), argument.name) == std::end(kIgnored) &&
        !std::holds_alternative<std::monostate>(argument.value)) {
      throw UnsupportedCall{"unknown argument '" + argument.name.substr(0, 100) + "'"};
    }
  }
}

template <typename... Parts>
void Call::fail(std::string_view argument, const Parts&... parts) const {
  base::fail("lowering", ErrorCode::Corrupt, "argument '", argument, "': ", parts...);
}

const ArgumentValue& Call::value(std::string_view name) const {
  for (const program::NamedArgument& argument : node_.inputs) {
    if (argument.name == name) return argument.value;
  }
  const Signature::Argument* declared = signature_.find(name);
  if (declared == nullptr || !declared->has_default) fail(name, "is required");
  return declared->fallback;
}

Binding& Call::lookup(const std::string& name) {
  const auto found = environment_.find(name);
  if (found == environment_.end()) {
    base::fail("lowering", ErrorCode::Corrupt, "'", name.substr(0, 200),
               "' is used but not defined before");
  }
  return found->second;
}

Ref& Call::lookup_tensor(const std::string& name) {
  Binding& binding = lookup(name);
  if (auto* ref = std::get_if<Ref>(&binding)) return *ref;
  if (std::holds_alternative<std::monostate>(binding)) {
    throw UnsupportedCall{"uses '" + name + "', a result that has no lowering", true};
  }
  base::fail("lowering", ErrorCode::Corrupt, "'", name.substr(0, 200), "' is not a tensor");
}

Symbolic Call::lookup_symbol(const std::string& name) {
  const Binding& binding = lookup(name);
  if (const auto* symbol = std::get_if<Symbolic>(&binding)) return *symbol;
  if (std::holds_alternative<std::monostate>(binding)) {
    throw UnsupportedCall{"uses '" + name + "', a result that has no lowering", true};
  }
  base::fail("lowering", ErrorCode::Corrupt, "'", name.substr(0, 200), "' is not a number");
}

Attribute to_attribute(const Symbolic& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* size = std::get_if<SymInt>(&value)) return *size;
  if (const auto* number = std::get_if<SymFloat>(&value)) {
    if (number->is_constant()) return number->value();
    throw UnsupportedCall{"a float computed of a dynamic size"};
  }
  throw UnsupportedCall{"a number that depends on tensor values"};
}

SymInt Call::element(const program::SymElement& element) {
  if (element.name.empty()) return element.value;
  const Attribute number = to_attribute(lookup_symbol(element.name));
  if (const auto* size = std::get_if<SymInt>(&number)) return *size;
  base::fail("lowering", ErrorCode::Corrupt, "'", element.name, "' is not an integer");
}

bool Call::is_none(std::string_view name) const {
  return std::holds_alternative<std::monostate>(value(name));
}
bool Call::is_tensor(std::string_view name) const {
  return std::holds_alternative<program::TensorName>(value(name));
}
bool Call::has(std::string_view name) const {
  return std::any_of(node_.inputs.begin(), node_.inputs.end(),
                     [&](const auto& argument) { return argument.name == name; });
}

Ref& Call::ref(std::string_view name) {
  if (const auto* tensor = std::get_if<program::TensorName>(&value(name))) {
    return lookup_tensor(tensor->name);
  }
  fail(name, "want a tensor");
}

ir::Value* Call::tensor(std::string_view name) { return read(graph_, ref(name)); }

ir::Value* Call::optional_tensor(std::string_view name) {
  return is_none(name) ? nullptr : tensor(name);
}

std::vector<ir::Value*> Call::tensors(std::string_view name) {
  const auto* names = std::get_if<program::TensorNames>(&value(name));
  if (names == nullptr) {
    const auto* list = std::get_if<std::vector<program::SymElement>>(&value(name));
    if (list != nullptr && list->empty()) return {};  // An empty list of unknown type.
    fail(name, "want a list of tensors");
  }
  std::vector<ir::Value*> out;
  for (const std::string& element : *names) {
    out.push_back(element.empty() ? nullptr : read(graph_, lookup_tensor(element)));
  }
  return out;
}

SymDims Call::sizes(std::string_view name) {
  const ArgumentValue& given = value(name);
  SymDims out;
  if (const auto* list = std::get_if<std::vector<program::SymElement>>(&given)) {
    for (const program::SymElement& size : *list)
      out.push_back(element(size));
    return out;
  }
  return {size(name)};
}

SymDims Call::sizes(std::string_view name, size_t count) {
  SymDims out = sizes(name);
  if (out.size() == 1) out.resize(count, out[0]);
  if (out.size() != count) fail(name, "want ", count, " numbers, have ", out.size());
  return out;
}

SymInt Call::size(std::string_view name) {
  const Attribute number = scalar(name);
  if (const auto* size = std::get_if<SymInt>(&number)) return *size;
  fail(name, "want an integer");
}

int64_t Call::integer(std::string_view name) {
  const SymInt number = size(name);
  if (!number.is_constant()) unsupported("argument '", name, "' is a dynamic size");
  return number.value();
}

Dims Call::integers(std::string_view name) {
  Dims out;
  for (const SymInt& number : sizes(name)) {
    if (!number.is_constant()) unsupported("argument '", name, "' has a dynamic size");
    out.push_back(number.value());
  }
  return out;
}

double Call::number(std::string_view name) {
  const Attribute number = scalar(name);
  if (const auto* real = std::get_if<double>(&number)) return *real;
  if (const auto* flag = std::get_if<bool>(&number)) return *flag ? 1 : 0;
  return static_cast<double>(integer(name));
}

bool Call::flag(std::string_view name) {
  const Attribute number = scalar(name);
  if (const auto* flag = std::get_if<bool>(&number)) return *flag;
  fail(name, "want true or false");
}

std::string Call::text(std::string_view name) {
  if (const auto* text = std::get_if<std::string>(&value(name))) return *text;
  fail(name, "want a string");
}

std::optional<DType> Call::dtype(std::string_view name) {
  if (is_none(name)) return std::nullopt;
  const auto* id = std::get_if<program::DTypeId>(&value(name));
  if (id == nullptr) fail(name, "want a dtype");
  if (!id->dtype) unsupported("dtype ", id->serialised, " of the serialiser");
  return id->dtype;
}

Attribute Call::scalar(std::string_view name) {
  Attribute out = attribute(name);
  if (std::holds_alternative<std::string>(out) || std::holds_alternative<SymDims>(out) ||
      std::holds_alternative<std::vector<double>>(out) || std::holds_alternative<DType>(out)) {
    fail(name, "want a number");
  }
  return out;
}

Attribute Call::attribute(std::string_view name) {
  const ArgumentValue& given = value(name);
  if (std::holds_alternative<std::monostate>(given)) return std::monostate{};
  if (const auto* flag = std::get_if<bool>(&given)) return *flag;
  if (const auto* whole = std::get_if<int64_t>(&given)) return SymInt(*whole);
  if (const auto* real = std::get_if<double>(&given)) return *real;
  if (const auto* text = std::get_if<std::string>(&given)) return *text;
  if (const auto* symbol = std::get_if<program::SymName>(&given)) {
    return to_attribute(lookup_symbol(symbol->name));
  }
  if (std::holds_alternative<std::vector<program::SymElement>>(given)) return sizes(name);
  if (const auto* list = std::get_if<std::vector<double>>(&given)) return *list;
  if (std::holds_alternative<program::DTypeId>(given)) return *dtype(name);
  if (std::holds_alternative<program::TensorName>(given)) fail(name, "want no tensor");
  unsupported("argument '", name, "' is of a kind that is not known here");
}

int64_t Call::axis(std::string_view name, size_t rank) {
  const int64_t count = static_cast<int64_t>(std::max<size_t>(rank, 1));
  const int64_t index = integer(name);
  if (index < -count || index >= count) fail(name, index, " is outside a tensor of rank ", rank);
  return index < 0 ? index + count : index;
}

std::optional<Dims> Call::axes(std::string_view name, size_t rank) {
  if (is_none(name)) return std::nullopt;
  Dims out = integers(name);
  if (out.empty()) return std::nullopt;
  const int64_t count = static_cast<int64_t>(std::max<size_t>(rank, 1));
  for (int64_t& index : out) {
    if (index < -count || index >= count) fail(name, index, " is outside a tensor of rank ", rank);
    if (index < 0) index += count;
  }
  return out;
}

std::vector<ir::Value*> Call::emit_all(std::string_view op, const std::vector<ir::Value*>& inputs,
                                       Attributes attributes) {
  const ir::Node* node =
      graph_.add(op, inputs, std::move(attributes), nullptr,
                 node_.name.empty() ? std::string(op) : node_.name + "." + std::string(op));
  return {node->outputs().begin(), node->outputs().end()};
}

ir::Value* Call::emit(std::string_view op, const std::vector<ir::Value*>& inputs,
                      Attributes attributes) {
  return emit_all(op, inputs, std::move(attributes))[0];
}

ir::Value* Call::emit_scalar(std::string_view op, ir::Value* x, Attribute scalar) {
  return emit(op, {x, nullptr}, {{"scalar", std::move(scalar)}});
}

ir::Value* Call::cast(ir::Value* x, DType dtype) {
  return x->dtype() == dtype ? x : emit("cast", {x}, {{"dtype", dtype}});
}

ir::Value* Call::reshape(ir::Value* x, SymDims dims) {
  return x->dims() == dims ? x : emit("reshape", {x}, {{"dims", std::move(dims)}});
}

Ref Call::view(const Ref& of, std::string_view op, Attributes attributes) {
  Ref out = of;
  ir::Value* from = read(graph_, out);
  const ir::Node* node =
      graph_.add(op, {from}, std::move(attributes), nullptr, node_.name + "." + std::string(op));
  out.steps.push_back({std::string(op), node->attributes(), from->dims()});
  out.value = node->output();
  out.meta = nullptr;
  return out;
}

void Call::result(ir::Value* value) {
  Ref ref;
  ref.memory = std::make_shared<Memory>();
  ref.memory->value = value;
  ref.value = value;
  result(std::move(ref));
}

void Call::result(Ref ref) { results_.emplace_back(std::move(ref)); }

void Call::write(std::string_view name, ir::Value* value) {
  Ref& target = ref(name);
  const TensorType type = read(graph_, target)->type();
  value = cast(value, type.dtype);
  if (!(value->dims() == type.dims)) value = emit("expand", {value}, {{"dims", type.dims}});
  lowering::write(graph_, target, value);
  result(target);
}

void Call::rebind(std::string_view name, Ref ref) {
  const auto* tensor = std::get_if<program::TensorName>(&value(name));
  if (tensor == nullptr) fail(name, "want a tensor");
  environment_[tensor->name] = std::move(ref);
}

size_t Call::result_count() const {
  if (node_.outputs.size() != 1) return node_.outputs.size();
  const auto* list = std::get_if<program::TensorNames>(&node_.outputs[0]);
  return list == nullptr ? 1 : list->size();
}

const program::TensorMeta* Call::result_meta(size_t i) const {
  const std::string* name = nullptr;
  if (node_.outputs.size() == 1) {
    if (const auto* list = std::get_if<program::TensorNames>(&node_.outputs[0])) {
      if (i < list->size()) name = &(*list)[i];
    }
  }
  if (name == nullptr && i < node_.outputs.size()) {
    if (const auto* one = std::get_if<program::TensorName>(&node_.outputs[i])) name = &one->name;
  }
  if (name == nullptr) return nullptr;
  const auto found = exported_.tensors.find(*name);
  return found == exported_.tensors.end() ? nullptr : &found->second;
}

}  // namespace regraft::lowering
