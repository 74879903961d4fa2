// PyTorch's tensors, read without Python code for each: a refit looks at thousands.
#include <cstring>

#include "base/fail.h"
#include "bindings.h"
#include "regraft/engine.h"

namespace regraft::python {
namespace {

// The beginning of DLPackExchangeAPI of dlpack.h 1.3, whose layout a major version does not change.
struct ExchangeApi {
  struct {
    uint32_t major, minor;
  } version;
  const void* previous;
  const void* allocate;
  const void* to_managed;
  const void* from_managed;
  // Fills in pointers into the tensor; -1 with a Python error set.
  int (*to_tensor)(void* object, nb::dlpack::dltensor* out);
};

using ToTensor = int (*)(void* object, nb::dlpack::dltensor* out);

// Null before PyTorch 2.10.
ToTensor exchange_of(const nb::object& type) {
  constexpr const char* kName = "dlpack_exchange_api";
  const nb::object capsule = nb::getattr(type, "__dlpack_c_exchange_api__", nb::none());
  if (!PyCapsule_IsValid(capsule.ptr(), kName)) return nullptr;
  const auto* api = static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), kName));
  return api->version.major == 1 ? api->to_tensor : nullptr;
}

// What is asked of PyTorch; never freed, as the interpreter may be gone.
struct Torch {
  nb::object module = nb::module_::import_("torch");
  nb::object tensor = module.attr("Tensor");
  nb::object parameter = module.attr("nn").attr("Parameter");
  nb::object is_neg = tensor.attr("is_neg"), is_conj = tensor.attr("is_conj");
  ToTensor to_tensor = exchange_of(tensor);

  bool is_ordinary(nb::handle value) const {
    const auto* type = reinterpret_cast<const PyObject*>(Py_TYPE(value.ptr()));
    return type == tensor.ptr() || type == parameter.ptr();
  }
  // Whether elements are to be read with another sign.
  bool is_lazy(nb::handle value, DType dtype) const {
    return nb::cast<bool>(is_neg(value)) || (is_complex(dtype) && nb::cast<bool>(is_conj(value)));
  }
};

const Torch& torch() {
  static const Torch& known = *new Torch;
  return known;
}

// Of an str, as long as it lives; none for anything else, and where it is no Unicode.
std::optional<std::string_view> try_text(nb::handle name) {
  if (!PyUnicode_CheckExact(name.ptr())) return std::nullopt;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();
    return std::nullopt;
  }
  return std::string_view(text, static_cast<size_t>(size));
}

}  // namespace

std::optional<TensorView> try_view(nb::handle value, int ordinal) {
  const Torch& api = torch();
  if (api.to_tensor == nullptr || !api.is_ordinary(value)) return std::nullopt;
  nb::dlpack::dltensor tensor;
  if (api.to_tensor(value.ptr(), &tensor) != 0) {
    PyErr_Clear();
    return std::nullopt;
  }
  const bool is_near =
      tensor.device.device_type == nb::device::cpu::value ||
      (tensor.device.device_type == nb::device::cuda::value && tensor.device.device_id == ordinal);
  const auto dtype = try_dtype(tensor.dtype);
  if (!is_near || !dtype || api.is_lazy(value, *dtype)) {
    return std::nullopt;
  }
  if (tensor.strides == nullptr && tensor.ndim > 0) return std::nullopt;
  TensorView view(static_cast<const std::byte*>(tensor.data) + tensor.byte_offset, *dtype,
                  Dims(tensor.shape, tensor.shape + tensor.ndim),
                  Dims(tensor.strides, tensor.strides + tensor.ndim));
  if (tensor.data == nullptr && view.count() > 0) return std::nullopt;
  return view;
}

namespace {

// Calls add(name, view) for tensor after tensor, up to the first for which one of them is none:
// false then.
template <typename Add>
bool try_each(const nb::dict& tensors, int ordinal, const Add& add) {
  for (const auto& [name, value] : tensors) {
    const auto text = try_text(name);
    auto view = text ? try_view(value, ordinal) : std::nullopt;
    if (!view) return false;
    add(*text, std::move(*view));
  }
  return true;
}

}  // namespace

std::shared_ptr<WeightSource> try_source(const nb::dict& tensors, int ordinal) {
  std::vector<std::pair<std::string, SourceTensor>> list;
  list.reserve(tensors.size());
  const bool is_whole = try_each(tensors, ordinal, [&](std::string_view name, TensorView view) {
    list.emplace_back(std::string(name), SourceTensor{std::move(view), nullptr, false});
  });
  if (!is_whole) return nullptr;
  return std::const_pointer_cast<WeightSource>(make_source(std::move(list)));
}

bool is_ordinary(nb::handle value) { return torch().is_ordinary(value); }

std::vector<const void*> addresses(const nb::list& tensors) {
  const Torch& api = torch();
  std::vector<const void*> list;
  list.reserve(tensors.size());
  for (const nb::handle value : tensors) {
    nb::dlpack::dltensor tensor;
    if (api.to_tensor != nullptr && api.is_ordinary(value) &&
        api.to_tensor(value.ptr(), &tensor) == 0) {
      list.push_back(tensor.data);
      continue;
    }
    PyErr_Clear();
    const auto address = nb::cast<uintptr_t>(value.attr("data_ptr")());
    list.push_back(reinterpret_cast<const void*>(address));
  }
  return list;
}

namespace {

// Tensors one after the other, kept alive and named by a dict, or by whoever gave rows of them.
class Table {
 public:
  explicit Table(nb::dict owner) : owner_(std::move(owner)) {}
  explicit Table(const std::vector<Row>& rows) {
    for (const Row& row : rows)
      views_.push_back(to_view(row));
  }

  const std::vector<std::string_view>& names() const { return names_; }
  const std::vector<TensorView>& views() const { return views_; }

  // False: a name or a tensor is none.
  bool fill(int ordinal) {
    names_.reserve(owner_.size());
    views_.reserve(owner_.size());
    return try_each(owner_, ordinal, [&](std::string_view name, TensorView view) {
      names_.push_back(name);
      views_.push_back(std::move(view));
    });
  }

 private:
  nb::dict owner_;
  std::vector<std::string_view> names_;  // Of the owner's keys.
  std::vector<TensorView> views_;
};

std::shared_ptr<Table> try_table(const nb::dict& tensors, int ordinal) {
  // A copy: the dict may change meanwhile.
  const nb::object copy = nb::steal(PyDict_Copy(tensors.ptr()));
  if (!copy.is_valid()) throw nb::python_error();
  auto table = std::make_shared<Table>(nb::cast<nb::dict>(copy));
  return table->fill(ordinal) ? std::move(table) : nullptr;
}

// Names, dtypes and sizes: tables of one layout differ in values alone.
class Layout {
 public:
  explicit Layout(const Table& table) : names_(table.names().begin(), table.names().end()) {
    for (const TensorView& view : table.views())
      specs_.emplace_back(view.dtype, view.dims);
  }

  bool is_of(const Table& table) const {
    const auto is_same = [](const TensorView& view, const auto& spec) {
      return view.dtype == spec.first && view.dims == spec.second;
    };
    return std::equal(names_.begin(), names_.end(), table.names().begin(), table.names().end()) &&
           std::equal(table.views().begin(), table.views().end(), specs_.begin(), is_same);
  }

 private:
  std::vector<std::string> names_;
  std::vector<std::pair<DType, Dims>> specs_;
};

// A, B, scale, transposed.
using Term = std::tuple<nb::object, nb::object, float, bool>;
using Merge = std::tuple<std::string, nb::object, std::vector<Term>>;

// Of any device, through __dlpack__ where PyTorch has no quicker way.
TensorView view_of(nb::handle value, int ordinal) {
  if (auto view = try_view(value, ordinal)) return std::move(*view);
  return to_view_anywhere(nb::cast<nb::ndarray<nb::ro>>(value));
}

// The tensors of `source` (null: none) and merged ones.
std::shared_ptr<WeightSource> with_merged(const std::shared_ptr<WeightSource>& source,
                                          const std::vector<Merge>& merges, int ordinal) {
  std::vector<std::pair<std::string, SourceTensor>> list;
  if (source) {
    for (const std::string& name : source->names())
      list.emplace_back(name, source->read(name));
  }
  for (const auto& [name, base, terms] : merges) {
    SourceTensor tensor{view_of(base, ordinal), nullptr, false};
    for (const auto& [a, b, scale, transposed] : terms)
      tensor.terms.push_back({view_of(a, ordinal), view_of(b, ordinal), scale, transposed});
    list.emplace_back(name, std::move(tensor));
  }
  return std::const_pointer_cast<WeightSource>(make_source(std::move(list)));
}

// The same tensors, which `owner` keeps alive and nobody changes.
std::shared_ptr<WeightSource> stable_source(const WeightSource& source, nb::object owner) {
  const std::shared_ptr<const void> held(owner.release().ptr(), [](PyObject* object) {
    if (!Py_IsInitialized()) return;
    const nb::gil_scoped_acquire gil;
    Py_DECREF(object);
  });
  std::vector<std::pair<std::string, SourceTensor>> list;
  for (const std::string& name : source.names()) {
    SourceTensor tensor = source.read(name);
    tensor.owner = held;
    tensor.stable = true;
    list.emplace_back(name, std::move(tensor));
  }
  return std::const_pointer_cast<WeightSource>(make_source(std::move(list)));
}

}  // namespace

void bind_tensors(nb::module_& module) {
  module.def(
      "try_source", &try_source, nb::arg("tensors"), nb::arg("ordinal"),
      nb::sig("def try_source(tensors: dict[str, object], ordinal: int) -> WeightSource | None"));
  module.def(
      "rows_source",
      [](const std::vector<Row>& rows) {
        return std::const_pointer_cast<WeightSource>(to_source(rows));
      },
      nb::arg("rows"));
  nb::class_<Table>(module, "Table");
  module.def(
      "rows_table", [](const std::vector<Row>& rows) { return std::make_shared<Table>(rows); },
      nb::arg("rows"));
  module.def("try_table", &try_table, nb::arg("tensors"), nb::arg("ordinal"),
             nb::sig("def try_table(tensors: dict[str, object], ordinal: int) -> Table | None"));
  nb::class_<Layout>(module, "Layout")
      .def(nb::init<const Table&>(), nb::arg("table"))
      .def("is_of", &Layout::is_of, nb::arg("table"));
  module.def(
      "copy_tensors",
      [](const Table& tensors, const std::string& device, const std::vector<uintptr_t>& to,
         uintptr_t stream) {
        std::vector<void*> places;
        places.reserve(to.size());
        for (const uintptr_t address : to)
          places.push_back(reinterpret_cast<void*>(address));
        const nb::gil_scoped_release release;
        copy_tensors(tensors.views(), device, places, reinterpret_cast<void*>(stream));
      },
      nb::arg("tensors"), nb::arg("device"), nb::arg("to"), nb::arg("stream"));
  module.def("stable_source", &stable_source, nb::arg("source"), nb::arg("owner"));
  module.def("with_merged", &with_merged, nb::arg("source").none(), nb::arg("merges"),
             nb::arg("ordinal"));
}

}  // namespace regraft::python
