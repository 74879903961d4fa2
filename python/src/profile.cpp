#include "regraft/profile.h"

#include <optional>

#include "bindings.h"

namespace regraft::python {
namespace {

// On operands by address, of the host or the engine's device; on random numbers without.
Profile run(const Engine& engine, const std::optional<std::vector<Row>>& rows, int runs) {
  std::vector<TensorView> inputs;
  if (rows) {
    for (const Row& row : *rows)
      inputs.push_back(to_view(row));
  }
  const nb::gil_scoped_release release;
  std::vector<Tensor> random;
  if (!rows) {
    random = random_inputs(engine);
    for (const Tensor& tensor : random)
      inputs.push_back(tensor.view());
  }
  return profile(engine, inputs, runs);
}

}  // namespace

void bind_profile(nb::module_& module) {
  nb::class_<StepProfile>(module, "StepProfile")
      .def_ro("kernel", &StepProfile::kernel)
      .def_ro("origin", &StepProfile::origin)
      .def_ro("tactic", &StepProfile::tactic)
      .def_ro("seconds", &StepProfile::seconds)
      .def_ro("bytes", &StepProfile::bytes)
      .def_ro("flops", &StepProfile::flops)
      .def_ro("roofline_seconds", &StepProfile::roofline_seconds)
      .def_prop_ro("share", &StepProfile::share);
  nb::class_<Peak>(module, "Peak")
      .def_ro("of", &Peak::of)
      .def_ro("per_second", &Peak::per_second)
      .def_ro("source", &Peak::source);
  nb::class_<Profile>(module, "Profile")
      .def_ro("engine", &Profile::engine)
      .def_ro("device", &Profile::device)
      .def_ro("runs", &Profile::runs)
      .def_ro("clock", &Profile::clock)
      .def_ro("run_seconds", &Profile::run_seconds)
      .def_ro("steps", &Profile::steps)
      .def_ro("peaks", &Profile::peaks)
      .def_prop_ro("steps_seconds", &Profile::steps_seconds)
      .def_prop_ro("bytes", &Profile::bytes)
      .def_prop_ro("flops", &Profile::flops)
      .def_prop_ro("roofline_seconds", &Profile::roofline_seconds)
      .def("__str__", [](const Profile& profile) { return to_string(profile); })
      .def("__repr__", [](const Profile& profile) { return to_string(profile); });
  module.def("profile", &run, nb::arg("engine"), nb::arg("rows").none(), nb::arg("runs"));
}

}  // namespace regraft::python
