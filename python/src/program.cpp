#include "regraft/program.h"

#include "bindings.h"
#include "regraft/compile.h"

namespace regraft::python {
namespace {

using Options = nb::typed<nb::dict, nb::str, nb::object>;

CompileOptions make_options(const Options& given) {
  CompileOptions options;
  for (const auto& [key_handle, value] : given) {
    const auto key = nb::cast<std::string>(key_handle);
    if (key == "backend") {
      options.backend = nb::cast<std::string>(value);
    } else if (key == "precision") {
      const auto dtype = try_parse_dtype(nb::cast<std::string>(value));
      if (!dtype) throw nb::value_error("precision: want 'f32', 'bf16' or 'f16'");
      options.precision = *dtype;
    } else if (key == "allow_tf32") {
      options.allow_tf32 = nb::cast<bool>(value);
    } else if (key == "optimum") {
      options.optimum = nb::cast<std::map<std::string, int64_t>>(value);
    } else if (key == "disabled_passes") {
      options.disabled_passes = nb::cast<std::vector<std::string>>(value);
    } else if (key == "weights") {
      options.weights = nb::cast<bool>(value);
    } else if (key == "name") {
      options.name = nb::cast<std::string>(value);
    } else if (key == "metadata") {
      options.metadata = nb::cast<std::map<std::string, std::string>>(value);
    } else if (key == "engine") {
      options.engine = nb::cast<EngineOptions>(value);
    } else if (key == "cache") {
      options.cache = to_cache(nb::borrow(value));
    } else if (key == "reuse_cached_engines") {
      options.reuse_cached_engines = nb::cast<bool>(value);
    } else if (key == "cache_built_engines") {
      options.cache_built_engines = nb::cast<bool>(value);
    } else {
      throw nb::value_error(("unknown option " + key).c_str());
    }
  }
  return options;
}

void set_progress(CompileOptions& options, nb::object progress) {
  if (progress.is_none()) return;
  options.on_event = [progress = std::move(progress)](const CompileEvent& event) {
    const nb::gil_scoped_acquire gil;
    progress(std::string(event.stage), std::string(event.pass), event.seconds,
             nb::cpp_function(event.text));
  };
}

Engine compile_program(const Program& program, const Options& given, nb::object progress) {
  CompileOptions options = make_options(given);
  set_progress(options, std::move(progress));
  const nb::gil_scoped_release release;
  Engine engine = compile(program, options);
  const nb::gil_scoped_acquire gil;
  options.on_event = {};
  return engine;
}

PartitionOptions make_rules(std::vector<std::string> excluded_ops, int64_t min_block_size) {
  PartitionOptions rules;
  rules.excluded_ops = std::move(excluded_ops);
  rules.min_block_size = min_block_size;
  return rules;
}

void bind_partition(nb::module_& module) {
  nb::class_<RefusalInfo>(module, "RefusalInfo")
      .def_ro("node", &RefusalInfo::node)
      .def_ro("op", &RefusalInfo::op)
      .def_ro("place", &RefusalInfo::place)
      .def_ro("reason", &RefusalInfo::reason);
  nb::class_<SegmentInput>(module, "SegmentInput")
      .def_ro("name", &SegmentInput::name)
      .def_ro("dim", &SegmentInput::dim);
  nb::class_<SegmentInfo>(module, "SegmentInfo")
      .def_ro("backend", &SegmentInfo::backend)
      .def_ro("nodes", &SegmentInfo::nodes)
      .def_ro("inputs", &SegmentInfo::inputs)
      .def_ro("outputs", &SegmentInfo::outputs)
      .def_ro("parameters", &SegmentInfo::parameters);
  nb::class_<PartitionInfo>(module, "PartitionInfo")
      .def_ro("backend", &PartitionInfo::backend)
      .def_ro("segments", &PartitionInfo::segments)
      .def_ro("refusals", &PartitionInfo::refusals)
      .def_ro("nodes", &PartitionInfo::nodes)
      .def_ro("is_whole", &PartitionInfo::is_whole)
      .def("__str__", [](const PartitionInfo& partition) { return to_string(partition); });
  module.def(
      "partition",
      [](const Program& program, const Options& options, std::vector<std::string> excluded_ops,
         int64_t min_block_size) {
        return partition(program, make_options(options),
                         make_rules(std::move(excluded_ops), min_block_size));
      },
      nb::arg("program"), nb::arg("options"), nb::arg("excluded_ops"), nb::arg("min_block_size"));
  module.def("segment_program", &segment_program, nb::arg("program"), nb::arg("segment"));
}

std::string kind_name(const ProgramParameter& parameter) {
  switch (parameter.kind) {
    case ParameterKind::Parameter:
      return "parameter";
    case ParameterKind::Buffer:
      return "buffer";
    case ParameterKind::Constant:
      break;
  }
  return "constant";
}

void bind_program_class(nb::module_& module) {
  nb::class_<ProgramTensor>(module, "ProgramTensor")
      .def_ro("name", &ProgramTensor::name)
      .def_prop_ro("dtype",
                   [](const ProgramTensor& tensor) { return std::string(name(tensor.dtype)); })
      .def_ro("dims", &ProgramTensor::dims);
  nb::class_<ProgramParameter>(module, "ProgramParameter")
      .def_ro("name", &ProgramParameter::name)
      .def_ro("aliases", &ProgramParameter::aliases)
      .def_prop_ro(
          "dtype",
          [](const ProgramParameter& parameter) { return std::string(name(parameter.dtype)); })
      .def_ro("dims", &ProgramParameter::dims)
      .def_prop_ro("kind", &kind_name)
      .def_ro("persistent", &ProgramParameter::persistent);
  nb::class_<Program>(module, "Program")
      .def_static("read", &Program::read, nb::arg("path"), nb::call_guard<nb::gil_scoped_release>())
      .def_static(
          "from_json",
          [](const nb::bytes& json, const std::vector<Row>& rows) {
            return Program::from_json({json.c_str(), json.size()}, to_source(rows));
          },
          nb::arg("json"), nb::arg("rows"))
      .def("parameters", &Program::parameters)
      .def("inputs", &Program::inputs)
      .def("outputs", &Program::outputs)
      .def("guards", &Program::guards)
      .def_prop_ro("in_spec", &Program::in_spec)
      .def_prop_ro("out_spec", &Program::out_spec);
}

}  // namespace

void bind_program(nb::module_& module) {
  bind_program_class(module);
  bind_partition(module);
  module.def("compile", &compile_program, nb::arg("program"), nb::arg("options"),
             nb::arg("progress").none());
  module.def(
      "cache_key",
      [](const Program& program, const Options& given) {
        const CompileOptions options = make_options(given);
        const nb::gil_scoped_release release;
        return cache_key(program, options);
      },
      nb::arg("program"), nb::arg("options"));
  module.def("explain", [](const Program& program, const Options& options) {
    return explain(program, make_options(options));
  });
  module.def(
      "outline",
      [](const Program& program, const Options& given) {
        return outline(program, make_options(given));
      },
      nb::arg("program"), nb::arg("options"));
  module.def("backends", &backends);
  module.def("pass_names", &pass_names);
}

}  // namespace regraft::python
