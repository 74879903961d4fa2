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

std::shared_ptr<WeightSource> try_source(const nb::dict& tensors, int ordinal) {
  std::vector<std::pair<std::string, SourceTensor>> list;
  list.reserve(tensors.size());
  for (const auto& [name, value] : tensors) {
    if (!PyUnicode_CheckExact(name.ptr())) return nullptr;
    auto view = try_view(value, ordinal);
    if (!view) return nullptr;
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(name.ptr(), &size);
    if (text == nullptr) {
      PyErr_Clear();
      return nullptr;
    }
    list.emplace_back(std::string(text, static_cast<size_t>(size)),
                      SourceTensor{std::move(*view), nullptr, false});
  }
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

// Names, dtypes and dims as one piece of text: sources of equal layouts differ in values alone.
nb::bytes layout(const WeightSource& source) {
  std::string text;
  for (const std::string& name : source.names()) {
    const TensorView spec = source.spec(name);
    text += name;
    text += '\0';
    text += spec.spec();
    text += '\0';
  }
  return nb::bytes(text.data(), text.size());
}

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
  module.def("layout", &layout, nb::arg("source"));
  module.def(
      "copy_tensors",
      [](const WeightSource& source, const std::string& device, uintptr_t to, uintptr_t stream) {
        const nb::gil_scoped_release release;
        copy_tensors(source, device, reinterpret_cast<void*>(to), reinterpret_cast<void*>(stream));
      },
      nb::arg("source"), nb::arg("device"), nb::arg("to"), nb::arg("stream"));
  module.def("stable_source", &stable_source, nb::arg("source"), nb::arg("owner"));
  module.def("with_merged", &with_merged, nb::arg("source").none(), nb::arg("merges"),
             nb::arg("ordinal"));
}

}  // namespace regraft::python
