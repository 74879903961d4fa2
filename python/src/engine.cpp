#include "regraft/engine.h"

#include "bindings.h"
#include "refit/lora.h"
#include "regraft/refit.h"
#include "tensor/copy.h"

namespace regraft::python {
namespace {

using Arrays = std::vector<nb::ndarray<nb::ro>>;

std::vector<TensorView> to_views(const Arrays& arrays) {
  std::vector<TensorView> views;
  views.reserve(arrays.size());
  for (const auto& array : arrays)
    views.push_back(to_view(array));
  return views;
}

nb::list run(const Engine& engine, const Weights* weights, const Arrays& arrays) {
  const std::vector<TensorView> inputs = to_views(arrays);
  std::vector<Tensor> outputs;
  {
    const nb::gil_scoped_release release;
    outputs = weights == nullptr ? engine.run(inputs) : engine.run(*weights, inputs);
  }
  nb::list list;
  for (const Tensor& output : outputs)
    list.append(to_torch(output));
  return list;
}

MutableTensorView to_mutable(const TensorView& view) {
  return {const_cast<void*>(view.data), view.dtype, view.dims, view.strides};
}

// On operands by address, of the host or the engine's device.
void run_rows(const Engine& engine, const std::vector<Row>& input_rows,
              const std::vector<Row>& output_rows, uintptr_t stream, const Weights* weights) {
  std::vector<TensorView> inputs;
  std::vector<MutableTensorView> outputs;
  for (const Row& row : input_rows)
    inputs.push_back(to_view(row));
  for (const Row& row : output_rows)
    outputs.push_back(to_mutable(to_view(row)));
  const nb::gil_scoped_release release;
  auto* on = reinterpret_cast<void*>(stream);
  weights == nullptr ? engine.run(inputs, outputs, on) : engine.run(*weights, inputs, outputs, on);
}

void bind_reports(nb::module_& module) {
  nb::class_<MemoryReport>(module, "MemoryReport")
      .def_ro("constants", &MemoryReport::constants)
      .def_ro("previous", &MemoryReport::previous)
      .def_ro("retained", &MemoryReport::retained)
      .def_ro("mapped", &MemoryReport::mapped)
      .def_ro("spare", &MemoryReport::spare)
      .def_ro("sessions", &MemoryReport::sessions);
  nb::class_<RefitReport>(module, "RefitReport")
      .def_ro("generation", &RefitReport::generation)
      .def_ro("dry_run", &RefitReport::dry_run)
      .def_ro("updated", &RefitReport::updated)
      .def_ro("untouched", &RefitReport::untouched)
      .def_ro("parameters", &RefitReport::parameters)
      .def_ro("unused", &RefitReport::unused)
      .def_ro("non_finite", &RefitReport::non_finite)
      .def_ro("bytes_in", &RefitReport::bytes_in)
      .def_ro("bytes_out", &RefitReport::bytes_out)
      .def_ro("stage_ms", &RefitReport::stage_ms)
      .def_ro("check_ms", &RefitReport::check_ms)
      .def_ro("evaluate_ms", &RefitReport::evaluate_ms)
      .def_ro("publish_ms", &RefitReport::publish_ms)
      .def_ro("total_ms", &RefitReport::total_ms)
      .def_ro("gigabytes_per_second", &RefitReport::gigabytes_per_second)
      .def_ro("memory", &RefitReport::memory)
      .def("__str__", [](const RefitReport& report) { return to_string(report); })
      .def("__repr__", [](const RefitReport& report) { return to_string(report); });
}

void bind_specs(nb::module_& module) {
  nb::class_<TensorSpec>(module, "TensorSpec")
      .def_ro("name", &TensorSpec::name)
      .def_prop_ro("dtype", [](const TensorSpec& spec) { return std::string(name(spec.dtype)); })
      .def_ro("dims", &TensorSpec::dims)
      .def("__repr__", [](const TensorSpec& spec) { return spec.name + ": " + spec.text(); });
  nb::class_<SymbolRange>(module, "SymbolRange")
      .def_ro("name", &SymbolRange::name)
      .def_ro("min", &SymbolRange::min)
      .def_ro("max", &SymbolRange::max)
      .def_ro("optimum", &SymbolRange::optimum);
  nb::class_<Signature>(module, "Signature")
      .def_ro("inputs", &Signature::inputs)
      .def_ro("outputs", &Signature::outputs)
      .def_ro("symbols", &Signature::symbols);
  nb::class_<ParameterInfo>(module, "ParameterInfo")
      .def_ro("spec", &ParameterInfo::spec)
      .def_ro("aliases", &ParameterInfo::aliases)
      .def_ro("retained", &ParameterInfo::retained);
  nb::class_<ConstantInfo>(module, "ConstantInfo")
      .def_ro("spec", &ConstantInfo::spec)
      .def_ro("packing", &ConstantInfo::packing)
      .def_ro("bytes", &ConstantInfo::bytes)
      .def_prop_ro("address", [](const ConstantInfo& constant) {
        return reinterpret_cast<uintptr_t>(constant.data);
      });
}

NonFinite parse_non_finite(const std::string& text) {
  if (text == "report") return NonFinite::Report;
  if (text == "reject") return NonFinite::Reject;
  if (text == "ignore") return NonFinite::Ignore;
  throw nb::value_error("non_finite: want 'report', 'reject' or 'ignore'");
}

Retain parse_retain(const std::string& text) {
  if (text == "auto") return Retain::Auto;
  if (text == "host") return Retain::Host;
  if (text == "none") return Retain::None;
  throw nb::value_error("retain: want 'auto', 'host' or 'none'");
}

// A row-major copy in another dtype, in one rounding.
nb::object converted(const Row& row, const std::string& dtype_name) {
  const auto dtype = try_parse_dtype(dtype_name);
  if (!dtype) throw nb::value_error("converted: unknown dtype");
  const SourceTensor from = to_source({row})->read(std::get<0>(row));
  Tensor to(*dtype, from.view.dims);
  {
    const nb::gil_scoped_release release;
    if (from.view.count() > 0) copy(from.view, to.mutable_view());
  }
  return to_torch(to);
}

// Rows of A and B, scale, transposed.
using LoraRow = std::tuple<Row, Row, float, bool>;

nb::object merge_lora(const Row& base, const std::vector<LoraRow>& rows) {
  const auto view = [](const Row& row) { return to_source({row})->read(std::get<0>(row)).view; };
  std::vector<LoraTerm> terms;
  for (const auto& [a, b, scale, transposed] : rows)
    terms.push_back({view(a), view(b), scale, transposed});
  const TensorView weight = view(base);
  Tensor merged;
  {
    const nb::gil_scoped_release release;
    merged = refit::merge_lora(weight, terms);
  }
  return to_torch(merged);
}

void bind_options(nb::module_& module) {
  nb::class_<RefitOptions>(module, "RefitOptions")
      .def(nb::init<>())
      .def_rw("partial", &RefitOptions::partial)
      .def_rw("allow_unexpected", &RefitOptions::allow_unexpected)
      .def_rw("adopt", &RefitOptions::adopt)
      .def_rw("cast", &RefitOptions::cast)
      .def_rw("in_place", &RefitOptions::in_place)
      .def_rw("dry_run", &RefitOptions::dry_run)
      .def_rw("wait_seconds", &RefitOptions::wait_seconds)
      .def_prop_rw(
          "stream",
          [](const RefitOptions& options) { return reinterpret_cast<uintptr_t>(options.stream); },
          [](RefitOptions& options, uintptr_t stream) {
            options.stream = reinterpret_cast<void*>(stream);
          })
      .def("set_non_finite", [](RefitOptions& options, const std::string& text) {
        options.non_finite = parse_non_finite(text);
      });
  nb::class_<EngineOptions>(module, "EngineOptions")
      .def(nb::init<>())
      .def_rw("adopt", &EngineOptions::adopt)
      .def_rw("spare", &EngineOptions::spare)
      .def_rw("max_bindings", &EngineOptions::max_bindings)
      .def_rw("memory_limit", &EngineOptions::memory_limit)
      .def_rw("realised", &EngineOptions::realised)
      .def_rw("device", &EngineOptions::device)
      .def("set_retain", [](EngineOptions& options, const std::string& text) {
        options.retain = parse_retain(text);
      });
  nb::class_<Refitter>(module, "Refitter")
      .def(
          "run",
          [](Refitter& refitter, uintptr_t stream) {
            const nb::gil_scoped_release release;
            return refitter.run(reinterpret_cast<void*>(stream));
          },
          nb::arg("stream"));
  nb::class_<Weights>(module, "Weights").def_prop_ro("generation", &Weights::generation);
  nb::class_<WeightSource>(module, "WeightSource")
      .def("names", &WeightSource::names)
      .def("spec",
           [](const WeightSource& source, const std::string& tensor) {
             const TensorView spec = source.spec(tensor);
             return std::make_pair(std::string(name(spec.dtype)), spec.dims);
           })
      .def("read",
           [](const WeightSource& source, const std::string& name) {
             const SourceTensor tensor = source.read(name);
             return to_torch(tensor.view, tensor.owner);
           })
      .def("description", &WeightSource::description);
  module.def("select_tensors", [](std::shared_ptr<WeightSource> source,
                                  const std::vector<std::string>& names) {
    return std::const_pointer_cast<WeightSource>(select_tensors(std::move(source), names));
  });
  module.def("converted", &converted, nb::arg("row"), nb::arg("dtype"));
  module.def("merge_lora", &merge_lora, nb::arg("base"), nb::arg("terms"));
  module.def("open_source", [](const std::string& path) {
    const nb::gil_scoped_release release;
    return std::const_pointer_cast<WeightSource>(open_source(path));
  });
}

RefitReport refit(Engine& engine, const WeightSource& source, const RefitOptions& options) {
  const nb::gil_scoped_release release;
  return engine.refit(source, options);
}

PreparedRefit prepare(Engine& engine, const WeightSource& source, const RefitOptions& options) {
  const nb::gil_scoped_release release;
  return engine.prepare_refit(source, options);
}

SaveOptions save_options(bool strip, bool immutable) {
  SaveOptions options;
  options.form = immutable ? SaveForm::Immutable : strip ? SaveForm::Stripped : SaveForm::Embedded;
  return options;
}

void save(const Engine& engine, const std::string& path, bool strip, bool immutable) {
  const nb::gil_scoped_release release;
  engine.save(path, save_options(strip, immutable));
}

nb::bytes serialize(const Engine& engine, bool strip, bool immutable) {
  std::vector<std::byte> bytes;
  {
    const nb::gil_scoped_release release;
    bytes = engine.serialize(save_options(strip, immutable));
  }
  return nb::bytes(bytes.data(), bytes.size());
}

Engine deserialize(const nb::bytes& bytes, const EngineOptions& options) {
  const std::span span(reinterpret_cast<const std::byte*>(bytes.c_str()), bytes.size());
  const nb::gil_scoped_release release;
  return Engine::deserialize(span, options);
}

void bind_prepared(nb::module_& module) {
  nb::class_<PreparedRefit>(module, "PreparedRefit")
      .def("report", [](const PreparedRefit& prepared) { return prepared.report(); })
      .def("check", &PreparedRefit::check, nb::call_guard<nb::gil_scoped_release>())
      .def("publish", &PreparedRefit::publish, nb::call_guard<nb::gil_scoped_release>());
}

void bind_engine_class(nb::module_& module) {
  nb::class_<Engine>(module, "Engine")
      .def_static("load", &Engine::load, nb::arg("path"), nb::arg("options"),
                  nb::call_guard<nb::gil_scoped_release>())
      .def_static("load_part", &Engine::load_part, nb::arg("path"), nb::arg("offset"),
                  nb::arg("bytes"), nb::arg("options"), nb::call_guard<nb::gil_scoped_release>())
      .def_static("deserialize", &deserialize, nb::arg("bytes"), nb::arg("options"))
      .def("serialize", &serialize, nb::arg("strip"), nb::arg("immutable"))
      .def("prepare_source", &prepare, nb::arg("source"), nb::arg("options"))
      .def(
          "run",
          [](const Engine& engine, const Arrays& inputs) { return run(engine, nullptr, inputs); },
          nb::sig("def run(self, inputs: list[object]) -> list[object]"))
      .def(
          "run_with",
          [](const Engine& engine, const Weights& weights, const Arrays& inputs) {
            return run(engine, &weights, inputs);
          },
          nb::sig("def run_with(self, weights: Weights, inputs: list[object]) -> list[object]"))
      .def("run_rows", &run_rows, nb::arg("inputs"), nb::arg("outputs"), nb::arg("stream"),
           nb::arg("weights").none())
      .def("output_dims", &Engine::output_dims, nb::arg("input_dims"))
      .def("refit_source", &refit, nb::arg("source"), nb::arg("options"))
      .def("refitter_rows",
           [](const Engine& engine, const std::vector<Row>& rows, const RefitOptions& options) {
             return Refitter(engine, to_source(rows), options);
           })
      .def("rollback", &Engine::rollback, nb::call_guard<nb::gil_scoped_release>())
      .def("weights", &Engine::weights)
      .def_prop_ro("generation", &Engine::generation)
      .def("fork", &Engine::fork, nb::call_guard<nb::gil_scoped_release>())
      .def("forget_previous", &Engine::forget_previous)
      .def("trim", &Engine::trim)
      .def("save", &save, nb::arg("path"), nb::arg("strip"), nb::arg("immutable"))
      .def_prop_ro("name", &Engine::name)
      .def_prop_ro("backend", &Engine::backend)
      .def_prop_ro("device", &Engine::device)
      .def_prop_ro("is_immutable", &Engine::is_immutable)
      .def_prop_ro("from_cache", &Engine::from_cache)
      .def("signature", &Engine::signature)
      .def("parameters", &Engine::parameters)
      .def("constants", [](const Engine& engine) { return engine.constants(); })
      .def(
          "constant_values",
          [](const Engine& engine) {
            std::vector<std::pair<std::string, Tensor>> values;
            {
              const nb::gil_scoped_release release;
              values = engine.constant_values();
            }
            nb::dict dict;
            for (const auto& [name, value] : values)
              dict[name.c_str()] = to_torch(value);
            return dict;
          },
          nb::sig("def constant_values(self) -> dict[str, object]"))
      .def("parameter",
           [](const Engine& engine, const std::string& name) {
             const SourceTensor tensor = engine.parameter(name);
             return to_torch(tensor.view, tensor.owner);
           })
      .def(
          "held_parameters",
          [](const Engine& engine, const std::vector<std::string>& names) {
            std::vector<SourceTensor> held;
            {
              const nb::gil_scoped_release release;
              held = engine.held_parameters(names);
            }
            nb::list list;
            for (const SourceTensor& tensor : held)
              list.append(to_torch_on(engine.device(), tensor.view, tensor.owner));
            return list;
          },
          nb::sig("def held_parameters(self, names: list[str]) -> list[object]"))
      .def("metadata",
           [](const Engine& engine, const std::string& key) { return engine.metadata(key); })
      .def("memory", &Engine::memory)
      .def("refit_map", &Engine::refit_map)
      .def("steps", &Engine::steps)
      .def("realised_plan", &Engine::realised_plan)
      .def("realised_digest", &Engine::realised_digest);
}

}  // namespace

void bind_engine(nb::module_& module) {
  bind_reports(module);
  bind_specs(module);
  bind_options(module);
  bind_prepared(module);
  bind_engine_class(module);
}

}  // namespace regraft::python
