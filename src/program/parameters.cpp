#include "program/parameters.h"

#include "base/fail.h"
#include "tensor/attributes.h"

namespace regraft::program {
namespace {

const InputSpec* find_spec(const std::map<std::string, const InputSpec*, std::less<>>& specs,
                           const std::string& name) {
  const auto found = specs.find(name);
  return found == specs.end() ? nullptr : found->second;
}

bool owns_tensor(const InputSpec& spec) {
  return spec.kind == InputKind::Parameter || spec.kind == InputKind::Buffer ||
         spec.kind == InputKind::TensorConstant;
}

ParameterKind kind_of(InputKind kind) {
  return kind == InputKind::Parameter ? ParameterKind::Parameter
         : kind == InputKind::Buffer  ? ParameterKind::Buffer
                                      : ParameterKind::Constant;
}

// "want f32[2,3], have f32[3]", or nothing when the graph's own statement agrees.
std::string disagreement(const ExportedGraph& graph, const InputSpec& spec,
                         const ProgramParameter& parameter) {
  const auto found = graph.tensors.find(spec.argument);
  if (found == graph.tensors.end()) return "the graph states no type for it";
  const TensorMeta& meta = found->second;
  SymDims dims;
  for (const StatedSize& size : meta.sizes) {
    if (!size || !size->is_constant()) return "the graph states a size that is not a number";
    dims.push_back(*size);
  }
  if (!meta.dtype) return base::cat("its dtype (", meta.serialised_dtype, ") is not supported");
  const TensorType stated{*meta.dtype, dims};
  const TensorType stored{parameter.dtype, to_sym(parameter.dims)};
  if (stated == stored) return "";
  return base::cat("want ", stated.str(), ", have ", stored.str());
}

void check_against_signature(const Program::Impl& impl) {
  std::vector<std::string> problems;
  for (const InputSpec& spec : impl.exported.inputs) {
    if (!owns_tensor(spec)) continue;
    const auto found = impl.parameter_by_name.find(spec.target);
    const std::string problem =
        found == impl.parameter_by_name.end()
            ? "the weights do not have it"
            : disagreement(impl.exported.graph, spec, impl.parameters[found->second]);
    if (!problem.empty()) problems.push_back(spec.target + ": " + problem);
  }
  if (problems.empty()) return;
  constexpr size_t kShown = 20;
  const size_t count = problems.size();
  if (count > kShown) problems.resize(kShown);
  base::fail("program", ErrorCode::Corrupt, base::join(problems, "; "),
             count > kShown ? base::cat("; and ", count - kShown, " more") : "");
}

}  // namespace

void build_parameters(const std::vector<StoredTensor>& tensors, Program::Impl& impl) {
  std::map<std::string, const InputSpec*, std::less<>> specs;
  for (const InputSpec& spec : impl.exported.inputs) {
    if (owns_tensor(spec)) specs.emplace(spec.target, &spec);
  }
  std::map<StoredTensor::Identity, size_t> known;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.identity) {
      const auto [tie, is_new] = known.emplace(*tensor.identity, impl.parameters.size());
      if (!is_new) {
        impl.parameters[tie->second].aliases.push_back(tensor.name);
        impl.parameter_by_name.emplace(tensor.name, tie->second);
        continue;
      }
    }
    ProgramParameter parameter{tensor.name, {}, tensor.dtype, tensor.dims};
    parameter.kind = tensor.is_parameter ? ParameterKind::Parameter : ParameterKind::Buffer;
    if (const InputSpec* spec = find_spec(specs, tensor.name)) {
      parameter.kind = kind_of(spec->kind);
      parameter.persistent = spec->persistent;
    }
    impl.parameter_by_name.emplace(tensor.name, impl.parameters.size());
    impl.parameters.push_back(std::move(parameter));
  }
  check_against_signature(impl);
}

}  // namespace regraft::program
