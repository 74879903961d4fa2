#include "regraft/program.h"

#include "base/fail.h"
#include "program/guards.h"
#include "program/impl.h"
#include "program/parameters.h"
#include "program/pytree.h"
#include "program/read.h"
#include "sources/pt2.h"

namespace regraft {
namespace {

using program::StoredTensor;

ProgramTensor boundary_tensor(const program::ExportedGraph& graph, const std::string& value,
                              std::string name) {
  const auto found = graph.tensors.find(value);
  if (found == graph.tensors.end()) {
    base::fail("program", ErrorCode::Corrupt, "'", value, "' has no type");
  }
  const program::TensorMeta& meta = found->second;
  if (!meta.dtype) {
    base::fail("program", ErrorCode::Unsupported, "'", value, "' has dtype ", meta.serialised_dtype,
               " of the serialiser, which Regraft does not have");
  }
  ProgramTensor out{std::move(name), *meta.dtype, {}};
  for (const program::StatedSize& size : meta.sizes)
    out.dims.push_back(size ? size->str() : "?");
  return out;
}

void build_boundary(Program::Impl& impl) {
  const program::ExportedProgram& exported = impl.exported;
  for (const program::InputSpec& spec : exported.inputs) {
    if (spec.kind != program::InputKind::User || !spec.is_tensor) continue;
    impl.inputs.push_back(boundary_tensor(exported.graph, spec.argument, spec.argument));
  }
  size_t count = 0;
  for (const program::OutputSpec& spec : exported.outputs) {
    count += spec.kind == program::OutputKind::User ? 1 : 0;
  }
  impl.output_names = program::leaf_names(exported.out_spec, count);
  size_t i = 0;
  for (const program::OutputSpec& spec : exported.outputs) {
    if (spec.kind != program::OutputKind::User) continue;
    const std::string& name = impl.output_names[i++];
    if (const auto* tensor = std::get_if<program::TensorName>(&spec.value)) {
      impl.outputs.push_back(boundary_tensor(exported.graph, tensor->name, name));
    }
  }
}

std::shared_ptr<Program::Impl> read_json(std::string_view json) {
  auto impl = std::make_shared<Program::Impl>();
  impl->exported = program::read_exported(json);
  build_boundary(*impl);
  impl->guards = program::guards_of(impl->exported);
  return impl;
}

// torch.export.save writes one model, "model".
std::string only_model(const sources::Pt2Archive& archive) {
  const std::vector<std::string> models = archive.models();
  for (const std::string& name : models) {
    if (name == "model") return name;
  }
  if (models.size() == 1) return models[0];
  base::fail("program", ErrorCode::Unsupported, archive.path(), ": want one model, have ",
             models.empty() ? "none" : base::join(models, ", "));
}

std::vector<StoredTensor> stored_tensors(const sources::Pt2Model& model) {
  std::vector<StoredTensor> out;
  for (const sources::Pt2Tensor& tensor : model.tensors) {
    StoredTensor stored{tensor.name, tensor.dtype, tensor.dims, tensor.is_parameter, {}};
    if (tensor.has_bytes() && numel(tensor.dims) > 0) {
      stored.identity.emplace(tensor.payload, tensor.storage_offset, tensor.dtype, tensor.dims,
                              tensor.strides);
    }
    out.push_back(std::move(stored));
  }
  return out;
}

std::vector<StoredTensor> stored_tensors(const WeightSource& source) {
  std::vector<StoredTensor> out;
  for (const std::string& name : source.names()) {
    const TensorView view = source.read(name).view;
    StoredTensor stored{name, view.dtype, view.dims, true, {}};
    if (view.data != nullptr && view.count() > 0) {
      stored.identity.emplace(reinterpret_cast<uintptr_t>(view.data), 0, view.dtype, view.dims,
                              view.strides);
    }
    out.push_back(std::move(stored));
  }
  return out;
}

}  // namespace

Program Program::read(const std::string& path) {
  const auto archive = sources::Pt2Archive::open(path);
  const std::string model = only_model(*archive);
  const auto impl = read_json(archive->model_json(model).text());
  program::build_parameters(stored_tensors(archive->model(model)), *impl);
  impl->weights = sources::make_pt2_source(archive);
  return Program(impl);
}

Program Program::from_json(std::string_view json, std::shared_ptr<const WeightSource> weights) {
  const auto impl = read_json(json);
  if (weights == nullptr) weights = make_source({});
  program::build_parameters(stored_tensors(*weights), *impl);
  impl->weights = std::move(weights);
  return Program(impl);
}

const std::vector<ProgramParameter>& Program::parameters() const { return impl_->parameters; }
const std::vector<ProgramTensor>& Program::inputs() const { return impl_->inputs; }
const std::vector<ProgramTensor>& Program::outputs() const { return impl_->outputs; }
std::vector<std::string> Program::guards() const {
  std::vector<std::string> out;
  for (const SizeGuard& guard : impl_->guards)
    out.push_back(guard.str());
  return out;
}
const std::string& Program::in_spec() const { return impl_->exported.in_spec; }
const std::string& Program::out_spec() const { return impl_->exported.out_spec; }
const std::shared_ptr<const WeightSource>& Program::weights() const { return impl_->weights; }

}  // namespace regraft
