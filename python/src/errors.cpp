#include "bindings.h"
#include "regraft/error.h"

namespace regraft::python {
namespace {

// Raises the class that regraft/errors.py maps the code to.
void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& error) {
    try {
      const nb::object raised = nb::module_::import_("regraft.errors")
                                    .attr("make_error")(std::string(name(error.code())),
                                                        error.stage(), std::string(error.what()));
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
    } catch (nb::python_error& failed) {
      failed.restore();
    }
  }
}

}  // namespace

void bind_errors(nb::module_&) { nb::register_exception_translator(translate); }

}  // namespace regraft::python
