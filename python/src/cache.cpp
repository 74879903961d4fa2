#include "regraft/cache.h"

#include "base/fail.h"
#include "bindings.h"

namespace regraft::python {
namespace {

std::string to_string(const nb::bytes& bytes) { return {bytes.c_str(), bytes.size()}; }

nb::bytes to_bytes(const std::string& text) { return nb::bytes(text.data(), text.size()); }

// What is no Exception (KeyboardInterrupt, ...) ends the compilation.
template <typename F>
auto guarded(std::string_view method, const F& f) {
  try {
    return f();
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_Exception)) throw;
    base::fail("cache", ErrorCode::Io, method, ": ", nb::str(error.type().attr("__name__")).c_str(),
               ": ", nb::str(error.value()).c_str());
  }
}

// A cache written in Python: an object with load(key), save(key, blob) and remove(key).
class PythonCache final : public EngineCache {
 public:
  explicit PythonCache(nb::object object) : object_(std::move(object)) {}
  // The last owner may be a thread that let go of the interpreter.
  ~PythonCache() override {
    const nb::gil_scoped_acquire gil;
    object_.reset();
  }
  PythonCache(const PythonCache&) = delete;
  PythonCache& operator=(const PythonCache&) = delete;

  std::optional<std::string> load(const std::string& key) override {
    const nb::gil_scoped_acquire gil;
    return guarded("load", [&]() -> std::optional<std::string> {
      const nb::object entry = object_.attr("load")(key);
      if (entry.is_none()) return std::nullopt;
      if (!nb::isinstance<nb::bytes>(entry)) {
        const nb::str have(entry.type().attr("__name__"));
        base::fail("cache", ErrorCode::InvalidArgument, "load: want bytes or None, have ",
                   have.c_str());
      }
      return to_string(nb::borrow<nb::bytes>(entry));
    });
  }

  void save(const std::string& key, const std::string& entry) override {
    const nb::gil_scoped_acquire gil;
    guarded("save", [&] { object_.attr("save")(key, to_bytes(entry)); });
  }

  void remove(const std::string& key) override {
    const nb::gil_scoped_acquire gil;
    guarded("remove", [&] { object_.attr("remove")(key); });
  }

 private:
  nb::object object_;
};

}  // namespace

std::shared_ptr<EngineCache> to_cache(nb::object object) {
  return std::make_shared<PythonCache>(std::move(object));
}

void bind_cache(nb::module_& module) {
  nb::class_<EngineCache>(module, "DiskCache")
      .def(nb::new_([](const std::string& folder, uint64_t capacity) {
             return disk_cache(folder, capacity);
           }),
           nb::arg("folder"), nb::arg("capacity"))
      .def(
          "load",
          [](EngineCache& cache, const std::string& key) -> std::optional<nb::bytes> {
            std::optional<std::string> entry;
            {
              const nb::gil_scoped_release release;
              entry = cache.load(key);
            }
            if (!entry) return std::nullopt;
            return to_bytes(*entry);
          },
          nb::arg("key"))
      .def(
          "save",
          [](EngineCache& cache, const std::string& key, const nb::bytes& entry) {
            const std::string copy = to_string(entry);
            const nb::gil_scoped_release release;
            cache.save(key, copy);
          },
          nb::arg("key"), nb::arg("entry"))
      .def("remove", &EngineCache::remove, nb::arg("key"),
           nb::call_guard<nb::gil_scoped_release>());
  nb::class_<CacheKey>(module, "CacheKey")
      .def_ro("digest", &CacheKey::digest)
      .def_ro("parameters", &CacheKey::parameters)
      .def_ro("inputs", &CacheKey::inputs)
      .def_ro("outputs", &CacheKey::outputs)
      .def_ro("symbols", &CacheKey::symbols);
}

}  // namespace regraft::python
