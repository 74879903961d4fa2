// Whether tensors still lie where they lay.
#include <algorithm>
#include <memory>
#include <vector>

#include <dlfcn.h>

#include "bindings.h"

namespace regraft::python {
namespace {

// Of AOTInductor's stable C interface: handles are tensors that share memory with Python's.
struct Handles {
  using DataOf = int32_t (*)(void* tensor, void** out);
  using Delete = int32_t (*)(void* tensor);
  DataOf data_of = nullptr;
  Delete erase = nullptr;
  nb::object make;

  static const Handles* find() {
    static const Handles* const found = load();
    return found;
  }

 private:
  static const Handles* load() {
    void* library = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) return nullptr;
    auto handles = std::make_unique<Handles>();
    handles->data_of = reinterpret_cast<DataOf>(dlsym(library, "aoti_torch_get_data_ptr"));
    handles->erase = reinterpret_cast<Delete>(dlsym(library, "aoti_torch_delete_tensor_object"));
    const nb::object aoti = nb::getattr(nb::module_::import_("torch._C"), "_aoti", nb::none());
    handles->make = nb::getattr(aoti, "unsafe_alloc_void_ptrs_from_tensors", nb::none());
    const bool is_whole = handles->data_of && handles->erase && !handles->make.is_none();
    return is_whole ? handles.release() : nullptr;  // Never freed: the interpreter may be gone.
  }
};

class Places {
 public:
  explicit Places(nb::list tensors) : tensors_(std::move(tensors)), places_(addresses(tensors_)) {
    const Handles* api = Handles::find();
    if (api == nullptr || !std::all_of(tensors_.begin(), tensors_.end(), is_ordinary)) return;
    for (const nb::handle capsule : nb::list(api->make(tensors_))) {
      void* handle = PyCapsule_GetPointer(capsule.ptr(), nullptr);
      if (handle == nullptr) throw nb::python_error();
      handles_.emplace_back(handle, api->erase);
    }
  }

  Places(const Places&) = delete;
  Places& operator=(const Places&) = delete;

  bool are_same() const {
    if (handles_.empty()) return addresses(tensors_) == places_;
    const Handles::DataOf data_of = Handles::find()->data_of;
    return std::equal(handles_.begin(), handles_.end(), places_.begin(),
                      [&](const auto& handle, const void* place) {
                        void* data = nullptr;
                        return data_of(handle.get(), &data) == 0 && data == place;
                      });
  }

 private:
  nb::list tensors_;
  std::vector<const void*> places_;
  std::vector<std::unique_ptr<void, Handles::Delete>> handles_;  // None: PyTorch has no such.
};

}  // namespace

void bind_places(nb::module_& module) {
  nb::class_<Places>(module, "Places")
      .def(nb::init<nb::list>(), nb::arg("tensors"),
           nb::sig("def __init__(self, tensors: list[object]) -> None"))
      .def("are_same", &Places::are_same);
}

}  // namespace regraft::python
