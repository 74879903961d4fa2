#include "program/extract.h"

#include <set>

#include "base/fail.h"
#include "program/impl.h"
#include "program/names.h"

namespace regraft::program {
namespace {

class Extractor {
 public:
  Extractor(const Program::Impl& whole, const SegmentInfo& segment)
      : whole_(whole), segment_(segment) {}

  std::shared_ptr<const Program::Impl> run() {
    out_ = std::make_shared<Program::Impl>();
    out_->exported.ranges = whole_.exported.ranges;
    out_->exported.graph.hints = whole_graph().hints;
    out_->guards = whole_.guards;
    out_->exported.is_functional = whole_.exported.is_functional;
    take_nodes();
    take_parameters();
    take_inputs();
    take_sizes();
    take_outputs();
    return out_;
  }

 private:
  const ExportedGraph& whole_graph() const { return whole_.exported.graph; }
  ExportedGraph& graph() { return out_->exported.graph; }

  [[noreturn]] static void fail_unknown(std::string_view what, const std::string& name) {
    base::fail("program", ErrorCode::InvalidArgument, "a segment names the ", what, " '",
               name.substr(0, 200), "', which the program does not have");
  }

  const TensorMeta& meta_of(const std::string& name) const {
    const auto found = whole_graph().tensors.find(name);
    if (found == whole_graph().tensors.end()) fail_unknown("tensor", name);
    return found->second;
  }

  void take_nodes() {
    const std::set<std::string_view> wanted(segment_.nodes.begin(), segment_.nodes.end());
    for (const ExportedNode& node : whole_graph().nodes) {
      if (!wanted.contains(node.name)) continue;
      graph().nodes.push_back(node);
      for (const Name& name : names_read(node))
        (name.is_number ? numbers_ : tensors_).insert(name.text);
      for (const Name& name : names_made(node)) {
        made_.insert(name.text);
        if (!name.is_number) graph().tensors[name.text] = meta_of(name.text);
      }
    }
    if (graph().nodes.size() != wanted.size()) {
      fail_unknown("node", segment_.nodes.empty() ? "" : segment_.nodes.back());
    }
  }

  void add_input(InputSpec spec, TensorMeta meta) {
    graph().inputs.emplace_back(TensorName{spec.argument});
    graph().tensors[spec.argument] = std::move(meta);
    out_->exported.inputs.push_back(std::move(spec));
  }

  void take_parameters() {
    std::vector<std::string> names;
    for (const InputSpec& spec : whole_.exported.inputs) {
      const auto known = whole_.parameter_by_name.find(spec.target);
      if (spec.target.empty() || known == whole_.parameter_by_name.end()) continue;
      if (!tensors_.contains(spec.argument)) continue;
      add_input(spec, meta_of(spec.argument));
      const ProgramParameter& parameter = whole_.parameters[known->second];
      if (out_->parameter_by_name.contains(parameter.name)) continue;
      const size_t index = out_->parameters.size();
      out_->parameters.push_back(parameter);
      names.push_back(parameter.name);
      names.insert(names.end(), parameter.aliases.begin(), parameter.aliases.end());
      out_->parameter_by_name.emplace(parameter.name, index);
      for (const std::string& alias : parameter.aliases)
        out_->parameter_by_name.emplace(alias, index);
    }
    out_->weights = select_tensors(whole_.weights, names);
  }

  void take_inputs() {
    for (const SegmentInput& input : segment_.inputs) {
      TensorMeta meta = meta_of(input.name);
      InputSpec spec;
      spec.argument = input.name;
      if (input.dim >= 0) {
        if (static_cast<size_t>(input.dim) >= meta.sizes.size())
          fail_unknown("size of", input.name);
        spec.argument = size_carrier_name(input.name, input.dim);
        const StatedSize size = meta.sizes[static_cast<size_t>(input.dim)];
        meta = {};
        meta.dtype = DType::U8;
        meta.sizes = {size};
        meta.strides = {StatedSize(SymInt(1))};
      }
      if (!meta.dtype) fail_unknown("tensor of a known dtype", input.name);
      ProgramTensor boundary{spec.argument, *meta.dtype, {}};
      for (const StatedSize& size : meta.sizes)
        boundary.dims.push_back(size ? size->str() : "?");
      out_->inputs.push_back(std::move(boundary));
      add_input(std::move(spec), std::move(meta));
    }
  }

  void take_sizes() {
    for (const std::string& number : numbers_) {
      if (made_.contains(number)) continue;
      const auto size = whole_graph().sizes.find(number);
      if (size == whole_graph().sizes.end()) fail_unknown("number", number);
      InputSpec spec;
      spec.kind = InputKind::Size;
      spec.argument = number;
      spec.is_tensor = false;
      graph().inputs.emplace_back(SymName{number});
      graph().sizes.emplace(number, size->second);
      out_->exported.inputs.push_back(std::move(spec));
    }
  }

  void take_outputs() {
    for (const std::string& name : segment_.outputs) {
      const TensorMeta& meta = meta_of(name);
      if (!made_.contains(name) || !meta.dtype) fail_unknown("result", name);
      graph().outputs.emplace_back(TensorName{name});
      OutputSpec spec;
      spec.value = TensorName{name};
      out_->exported.outputs.push_back(std::move(spec));
      out_->output_names.push_back(name);
      ProgramTensor boundary{name, *meta.dtype, {}};
      for (const StatedSize& size : meta.sizes)
        boundary.dims.push_back(size ? size->str() : "?");
      out_->outputs.push_back(std::move(boundary));
    }
  }

  const Program::Impl& whole_;
  const SegmentInfo& segment_;
  std::shared_ptr<Program::Impl> out_;
  std::set<std::string, std::less<>> tensors_, numbers_, made_;
};

}  // namespace

std::string size_carrier_name(const std::string& name, int dim) {
  return base::cat("size_", dim, "_of_", name);
}

Program extract(const Program& program, const SegmentInfo& segment) {
  return Program(Extractor(program.impl(), segment).run());
}

}  // namespace regraft::program
