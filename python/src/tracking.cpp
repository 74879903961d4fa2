#include "base/block_digest.h"
#include "bindings.h"

namespace regraft::python {
namespace {

// Version of a tensor that PyTorch keeps no version of (made under torch.inference_mode).
constexpr int64_t kNoVersion = -1;

// Reads a property or calls a method without arguments of an object as Python does, less the lookup
// of the name, which costs more than the rest.
class Getter {
 public:
  // `descriptor`: a property or a method of a class written in C, as found on the class.
  explicit Getter(nb::object descriptor) : descriptor_(std::move(descriptor)) {
    PyObject* object = descriptor_.ptr();
    if (Py_IS_TYPE(object, &PyGetSetDescr_Type)) {
      property_ = reinterpret_cast<PyGetSetDescrObject*>(object)->d_getset;
    } else if (Py_IS_TYPE(object, &PyMethodDescr_Type)) {
      const PyMethodDef* method = reinterpret_cast<PyMethodDescrObject*>(object)->d_method;
      if (method->ml_flags == METH_NOARGS) method_ = method->ml_meth;
    }
    if (property_ == nullptr && method_ == nullptr)
      throw nb::type_error("want a property or a method without arguments of a class in C");
  }

  // A new reference, or null and a Python error. `object` must be of the descriptor's class.
  PyObject* operator()(PyObject* object) const {
    return property_ != nullptr ? property_->get(object, property_->closure)
                                : method_(object, nullptr);
  }

 private:
  nb::object descriptor_;
  const PyGetSetDef* property_ = nullptr;
  PyCFunction method_ = nullptr;
};

// A number that the call just made returned; takes over the reference. -1 and a Python error when
// there is none.
int64_t take_number(PyObject* number) {
  if (number == nullptr) return kNoVersion;
  const int64_t value = PyLong_AsLongLong(number);
  Py_DECREF(number);
  return value;
}

// Identity, version counter and address of a list of tensors at one moment. Holds references to the
// tensors, so no other tensor can take the place of one of them. Asks the tensors through Python,
// as the core knows no torch; a loop in C, because it runs before every call of an engine.
class TensorStamps {
 public:
  // `base` is the class of all tensors.
  TensorStamps(nb::list tensors, nb::object base)
      : base_(std::move(base)),
        version_(base_.attr("_version")),
        address_(base_.attr("data_ptr")),
        tensors_(std::move(tensors)) {
    for (nb::handle tensor : tensors_) {
      if (!nb::isinstance(tensor, base_)) throw nb::type_error("want tensors");
      versions_.push_back(version(tensor.ptr()));
      PyErr_Clear();  // Inference tensors have no version.
      addresses_.push_back(address(tensor.ptr()));
      if (PyErr_Occurred() != nullptr) nb::raise_python_error();
    }
  }

  // Whether `tensors` are these very tensors with these versions and addresses.
  bool same(const nb::list& tensors) const {
    const size_t count = versions_.size();
    if (tensors.size() != count) return false;
    for (size_t i = 0; i < count; ++i) {
      PyObject* tensor = PyList_GET_ITEM(tensors.ptr(), static_cast<Py_ssize_t>(i));
      if (tensor != PyList_GET_ITEM(tensors_.ptr(), static_cast<Py_ssize_t>(i))) return false;
      const bool same_version = versions_[i] == kNoVersion || version(tensor) == versions_[i];
      if (!same_version || address(tensor) != addresses_[i]) {
        PyErr_Clear();
        return false;
      }
    }
    return true;
  }

  const std::vector<int64_t>& versions() const { return versions_; }
  const std::vector<int64_t>& addresses() const { return addresses_; }

 private:
  int64_t version(PyObject* tensor) const { return take_number(version_(tensor)); }
  int64_t address(PyObject* tensor) const { return take_number(address_(tensor)); }

  nb::object base_;
  Getter version_, address_;
  nb::list tensors_;
  std::vector<int64_t> versions_, addresses_;
};

// Whether dicts and lists were written to since the watch began. Where Python numbers the states of
// a dict (3.11, 3.12), setting an entry and setting it back counts as a write; elsewhere, and for
// lists, it does not: they are compared item by item, by identity.
class ContainerWatch {
 public:
  ContainerWatch(nb::list containers, bool tags) : containers_(std::move(containers)), tags_(tags) {
    for (nb::handle container : containers_)
      watched_.push_back(now(container.ptr()));
  }

  bool touched() const {
    for (size_t i = 0; i < watched_.size(); ++i)
      if (is_touched(i)) return true;
    return false;
  }

  // Places of those that were.
  std::vector<size_t> touched_at() const {
    std::vector<size_t> places;
    for (size_t i = 0; i < watched_.size(); ++i)
      if (is_touched(i)) places.push_back(i);
    return places;
  }

  static constexpr bool kHasTags = PY_VERSION_HEX < 0x030D0000;

 private:
  struct Watched {
    bool tagged = false;
    uint64_t tag = 0;
    nb::object items;  // A tuple that keeps what it names alive, so no address is used twice.
  };

  Watched now(PyObject* container) const {
    Watched watched;
    watched.tagged = tags_ && kHasTags && PyDict_Check(container);
    if (watched.tagged) {
      watched.tag = tag(container);
    } else {
      watched.items = items(container);
    }
    return watched;
  }

  PyObject* container(size_t i) const {
    return PyList_GET_ITEM(containers_.ptr(), static_cast<Py_ssize_t>(i));
  }

  bool is_touched(size_t i) const {
    const Watched& watched = watched_[i];
    return watched.tagged ? tag(container(i)) != watched.tag
                          : !same_items(container(i), watched.items.ptr());
  }

  static uint64_t tag([[maybe_unused]] PyObject* dict) {
#if PY_VERSION_HEX < 0x030D0000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#pragma GCC diagnostic pop
#else
    return 0;
#endif
  }

  // Keys and values of a dict in turn, or the items of a list.
  static nb::object items(PyObject* container) {
    if (!PyDict_Check(container)) return nb::steal(PySequence_Tuple(container));
    nb::list flat;
    PyObject *key = nullptr, *value = nullptr;
    for (Py_ssize_t at = 0; PyDict_Next(container, &at, &key, &value) != 0;) {
      flat.append(nb::borrow(key));
      flat.append(nb::borrow(value));
    }
    return nb::steal(PySequence_Tuple(flat.ptr()));
  }

  static bool same_items(PyObject* container, PyObject* items) {
    const Py_ssize_t count = PyTuple_GET_SIZE(items);
    if (!PyDict_Check(container)) {
      if (PyList_GET_SIZE(container) != count) return false;
      for (Py_ssize_t i = 0; i < count; ++i)
        if (PyList_GET_ITEM(container, i) != PyTuple_GET_ITEM(items, i)) return false;
      return true;
    }
    if (2 * PyDict_Size(container) != count) return false;
    PyObject *key = nullptr, *value = nullptr;
    Py_ssize_t i = 0;
    for (Py_ssize_t at = 0; PyDict_Next(container, &at, &key, &value) != 0; i += 2)
      if (key != PyTuple_GET_ITEM(items, i) || value != PyTuple_GET_ITEM(items, i + 1))
        return false;
    return true;
  }

  nb::list containers_;
  bool tags_;
  std::vector<Watched> watched_;
};

// Digests of memory that the caller keeps, to be compared with its later contents.
class Digests {
 public:
  explicit Digests(const std::vector<std::pair<uintptr_t, size_t>>& blocks) {
    for (const auto& [address, bytes] : blocks)
      blocks_.push_back({reinterpret_cast<const void*>(address), bytes});
    const nb::gil_scoped_release release;
    digests_ = base::digests(blocks_);
  }

  // Whether the same memory still has the same contents.
  bool same() const {
    const nb::gil_scoped_release release;
    return base::digests(blocks_) == digests_;
  }

  std::vector<std::pair<uint64_t, uint64_t>> values() const {
    std::vector<std::pair<uint64_t, uint64_t>> out;
    for (const base::Digest& digest : digests_)
      out.emplace_back(digest[0], digest[1]);
    return out;
  }

 private:
  std::vector<base::Block> blocks_;
  std::vector<base::Digest> digests_;
};

}  // namespace

void bind_tracking(nb::module_& module) {
  nb::class_<TensorStamps>(module, "TensorStamps")
      .def(nb::init<nb::list, nb::object>(),
           nb::sig("def __init__(self, tensors: list[object], base: type) -> None"))
      .def("same", &TensorStamps::same, nb::sig("def same(self, tensors: list[object]) -> bool"))
      .def_prop_ro("versions", &TensorStamps::versions)
      .def_prop_ro("addresses", &TensorStamps::addresses);
  nb::class_<ContainerWatch>(module, "ContainerWatch")
      .def(nb::init<nb::list, bool>(),
           nb::sig("def __init__(self, containers: list[object], tags: bool) -> None"))
      .def("touched", &ContainerWatch::touched)
      .def("touched_at", &ContainerWatch::touched_at);
  module.attr("HAS_DICT_TAGS") = ContainerWatch::kHasTags;
  nb::class_<Digests>(module, "Digests")
      .def(nb::init<const std::vector<std::pair<uintptr_t, size_t>>&>(), nb::arg("blocks"))
      .def("same", &Digests::same)
      .def_prop_ro("values", &Digests::values);
}

}  // namespace regraft::python
