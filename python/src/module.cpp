#include "base/parallel.h"
#include "bindings.h"
#include "regraft/log.h"

namespace regraft::python {
namespace {

void set_python_log(nb::object callback) {
  if (callback.is_none()) {
    set_log_callback({});
    return;
  }
  // Leaked on purpose: the callback may run while the interpreter goes down.
  auto* held = new nb::object(std::move(callback));
  set_log_callback([held](LogLevel level, std::string_view message) {
    const nb::gil_scoped_acquire gil;
    (*held)(static_cast<int>(level), std::string(message));
  });
}

}  // namespace

NB_MODULE(_regraft, module) {
  module.doc() = "The C++ core of Regraft. Use the package `regraft`.";
#ifdef NDEBUG
  // Caches of PyTorch may hold engines until the process ends; users cannot do anything about it.
  nb::set_leak_warnings(false);
#endif
  bind_errors(module);
  bind_cache(module);
  bind_engine(module);
  bind_profile(module);
  bind_program(module);
  bind_places(module);
  bind_tensors(module);
  bind_tracking(module);
  module.def("thread_count", &base::thread_count);
  module.def("set_thread_count", &base::set_thread_count, nb::arg("threads"));
  module.def("set_log_callback", &set_python_log, nb::arg("callback").none());
}

}  // namespace regraft::python
