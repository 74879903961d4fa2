#include "compilation/plan_builder.h"

#include <algorithm>
#include <set>

#include "base/fail.h"

namespace regraft::compilation {
namespace {

using ir::Region;
using plan::StorageKind;

Region region_of(const ir::Value& value) {
  if (value.is_parameter()) return Region::Weight;
  return value.is_input() ? Region::Compute : value.producer()->region();
}

StorageKind storage_kind(Region region) {
  switch (region) {
    case Region::Weight:
      return StorageKind::Weight;
    case Region::Shape:
      return StorageKind::Shape;
    case Region::Compute:
      return StorageKind::Compute;
  }
  return StorageKind::Compute;
}

}  // namespace

SymDims row_major(const SymDims& dims) {
  SymDims strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;)
    strides[i - 1] = strides[i] * dims[i];
  return strides;
}

PlanBuilder::PlanBuilder(const ir::Graph& graph, std::string_view backend,
                         std::string_view copy_kernel)
    : graph_(graph), copy_kernel_(copy_kernel) {
  plan_.backend = backend;
  add_symbols();
  for (const ir::Value* input : graph.inputs()) {
    const auto index = static_cast<int32_t>(plan_.inputs.size());
    const int32_t storage = add_storage(StorageKind::Input, index, input->type());
    home_[input] = add_buffer(input->name(), input->type(), storage, row_major(input->dims()), 0);
    plan_.inputs.push_back({input->name(), home_[input]});
  }
  // A result of the compute program is written to the first output that names it.
  for (const ir::Graph::Output& output : graph.outputs()) {
    const auto index = static_cast<int32_t>(plan_.outputs.size());
    const TensorType& type = output.value->type();
    const int32_t storage = add_storage(StorageKind::Output, index, type);
    const int32_t buffer = add_buffer(output.name, type, storage, row_major(type.dims), 0);
    plan_.outputs.push_back({output.name, buffer});
  }
}

void PlanBuilder::add_symbols() {
  plan_.symbols = graph_.symbols();
  plan_.guards = graph_.guards();
  std::set<std::string> names;
  for (const ir::Value* input : graph_.inputs()) {
    for (const SymInt& size : input->dims())
      size.collect_symbols(names);
  }
  for (const plan::Symbol& symbol : plan_.symbols)
    names.erase(symbol.name);
  for (const std::string& name : names)
    plan_.symbols.push_back({name, 0, INT64_MAX, 0});
}

int32_t PlanBuilder::add_storage(StorageKind kind, int32_t index, const TensorType& type) {
  const auto item = static_cast<int64_t>(item_size(type.dtype));
  plan_.storages.push_back({kind, index, numel(type.dims) * item});
  return static_cast<int32_t>(plan_.storages.size()) - 1;
}

int32_t PlanBuilder::add_buffer(std::string_view name, TensorType type, int32_t storage,
                                SymDims strides, SymInt offset) {
  plan_.buffers.push_back(
      {std::string(name), std::move(type), std::move(strides), std::move(offset), storage});
  return static_cast<int32_t>(plan_.buffers.size()) - 1;
}

int32_t PlanBuilder::buffer(const ir::Value* value, Region reader) {
  if (value == nullptr) return -1;
  if (region_of(*value) == Region::Weight && reader != Region::Weight) {
    return constant_buffer(*value);
  }
  const auto found = home_.find(value);
  if (found != home_.end()) return found->second;
  return home_[value] = value->is_parameter() ? parameter_buffer(*value) : make_buffer(*value);
}

int32_t PlanBuilder::make_buffer(const ir::Value& value) {
  const auto strides = strides_.find(&value);
  const Region region = region_of(value);
  if (region == Region::Compute && value.is_graph_output() && strides == strides_.end()) {
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      if (graph_.outputs()[i].value == &value) return plan_.outputs[i].buffer;
    }
  }
  TensorType whole = value.type();
  const auto row = row_sizes_.find(&value);
  if (row != row_sizes_.end()) whole.dims.back() = row->second;
  const int32_t storage = add_storage(storage_kind(region), -1, whole);
  return add_buffer(value.name(), value.type(), storage,
                    strides == strides_.end() ? row_major(value.dims()) : strides->second, 0);
}

int32_t PlanBuilder::parameter_buffer(const ir::Value& value) {
  const auto entry = std::find_if(graph_.parameters().begin(), graph_.parameters().end(),
                                  [&](const ir::Graph::Parameter& p) { return p.value == &value; });
  const auto index = static_cast<int32_t>(plan_.parameters.size());
  const int32_t storage = add_storage(StorageKind::Parameter, index, value.type());
  const int32_t buffer =
      add_buffer(value.name(), value.type(), storage, row_major(value.dims()), 0);
  plan_.parameters.push_back({value.name(), entry->aliases, buffer, -1});
  return buffer;
}

std::string PlanBuilder::unique_constant_name(const std::string& name) const {
  const auto taken = [&](const std::string& candidate) {
    return std::any_of(plan_.constants.begin(), plan_.constants.end(),
                       [&](const plan::Constant& c) { return c.name == candidate; });
  };
  std::string unique = name;
  for (int i = 1; taken(unique); ++i)
    unique = name + "_" + std::to_string(i);
  return unique;
}

int32_t PlanBuilder::constant_buffer(const ir::Value& value) {
  const auto found = constant_.find(&value);
  if (found != constant_.end()) return found->second;
  const bool packs = !value.is_parameter() && is_packing_cast(*value.producer());
  const int32_t source =
      buffer(packs ? value.producer()->input(size_t{0}) : &value, Region::Weight);
  const auto index = static_cast<int32_t>(plan_.constants.size());
  const int32_t storage = add_storage(StorageKind::Constant, index, value.type());
  const int32_t made = add_buffer(value.name(), value.type(), storage, row_major(value.dims()), 0);
  plan_.constants.push_back({unique_constant_name(value.name()), source, made});
  return constant_[&value] = made;
}

std::vector<int32_t> PlanBuilder::inputs(const ir::Node& node) {
  std::vector<int32_t> out;
  for (const ir::Value* input : node.inputs())
    out.push_back(buffer(input, node.region()));
  return out;
}

std::vector<int32_t> PlanBuilder::outputs(const ir::Node& node) {
  std::vector<int32_t> out;
  for (const ir::Value* output : node.outputs())
    out.push_back(buffer(output, node.region()));
  return out;
}

void PlanBuilder::set_strides(const ir::Value* value, SymDims strides) {
  strides_[value] = std::move(strides);
}

void PlanBuilder::pad_rows(const ir::Value* value, SymInt size) {
  SymDims whole = value->dims();
  whole.back() = size;
  strides_[value] = row_major(whole);
  row_sizes_[value] = std::move(size);
}

int32_t PlanBuilder::temporary(Region region, TensorType type, std::string_view name) {
  const int32_t storage = add_storage(storage_kind(region), -1, type);
  SymDims strides = row_major(type.dims);
  return add_buffer(name, std::move(type), storage, std::move(strides), 0);
}

plan::Step& PlanBuilder::add_step(const ir::Node& node, std::string_view kernel) {
  plan::Step step;
  step.kernel = kernel;
  step.inputs = inputs(node);
  step.outputs = outputs(node);
  step.attributes = node.attributes();
  step.origin = node.origin().node.empty() ? node.name() : node.origin().node;
  return add_step(node.region(), std::move(step));
}

plan::Step& PlanBuilder::add_step(Region region, plan::Step step) {
  std::vector<plan::Step>& steps = region == Region::Weight  ? plan_.weight_steps
                                   : region == Region::Shape ? plan_.shape_steps
                                                             : plan_.compute_steps;
  steps.push_back(std::move(step));
  return steps.back();
}

bool PlanBuilder::is_packing_cast(const ir::Node& node) {
  if (!node.is("cast") || node.region() != Region::Weight) return false;
  const ir::Value& result = *node.output();
  const DType from = node.input(size_t{0})->dtype();
  // Packers read no float8 in vectors.
  return is_floating(result.dtype()) && is_floating(from) && !is_float8(from) &&
         std::all_of(result.users().begin(), result.users().end(),
                     [](const ir::Node* user) { return user->region() != Region::Weight; });
}

plan::Plan PlanBuilder::finish() {
  for (size_t i = 0; i < graph_.outputs().size(); ++i) {
    const ir::Value* value = graph_.outputs()[i].value;
    const int32_t from = buffer(value, Region::Compute);
    const int32_t to = plan_.outputs[i].buffer;
    if (from == to) continue;
    plan::Step copy;
    copy.kernel = copy_kernel_;
    copy.inputs = {from};
    copy.outputs = {to};
    copy.attributes.set("dtype", value->dtype());
    copy.origin = "output " + graph_.outputs()[i].name;
    add_step(Region::Compute, std::move(copy));
  }
  guard_indices();
  return std::move(plan_);
}

// A parameter whose elements reach the index operand of a gathering op untouched must stay inside
// the dimension that they index, whatever a refit brings.
void PlanBuilder::guard_indices() {
  struct IndexOperand {
    std::string_view op, table, indices;
  };
  constexpr IndexOperand kIndexOperands[] = {
      {"embedding", "weight", "indices"},
      {"index_select", "x", "index"},
      {"gather", "x", "index"},
      {"scatter", "x", "index"},
  };
  std::map<std::string, int64_t> bounds;
  for (const auto& node : graph_.nodes()) {
    for (const auto& [op, table, indices] : kIndexOperands) {
      if (!node->is(op)) continue;
      const ir::Value* value = node->input(indices);
      while (!value->is_parameter() && value->producer() != nullptr &&
             (value->producer()->op().has(ops::kView) ||
              (value->producer()->is("cast") && is_integral(value->dtype())))) {
        value = value->producer()->input(size_t{0});
      }
      if (!value->is_parameter()) continue;
      const SymDims& dims = node->input(table)->dims();
      int64_t dim = op == "embedding" || dims.empty() ? 0 : node->attributes().integer("dim");
      if (dim < 0) dim += static_cast<int64_t>(dims.size());
      if (dims.empty() || !dims[dim].is_constant()) continue;
      const auto [at, inserted] = bounds.emplace(value->name(), dims[dim].value());
      at->second = std::min(at->second, dims[dim].value());
    }
  }
  for (plan::Parameter& parameter : plan_.parameters) {
    const auto bound = bounds.find(parameter.name);
    if (bound != bounds.end()) parameter.index_bound = bound->second;
  }
}

}  // namespace regraft::compilation
