#pragma once

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "regraft/cache.h"
#include "regraft/tensor.h"
#include "regraft/weight_source.h"

namespace regraft::python {

namespace nb = nanobind;

// One tensor as plain numbers: name, address, dtype name, sizes, strides in elements. Cheaper than
// DLPack for tables of a thousand parameters; the Python side keeps the tensors alive.
using Row = std::tuple<std::string, uintptr_t, std::string, Dims, Dims>;

// Throws nb::type_error for anything but a strided tensor in host memory.
TensorView to_view(const nb::ndarray<nb::ro>& array);
// The same of memory of any device.
TensorView to_view_anywhere(const nb::ndarray<nb::ro>& array);
// What the core calls a dtype of DLPack; none: it has no such dtype.
std::optional<DType> try_dtype(nb::dlpack::dtype dtype);
// A torch.Tensor as it lies in memory of the host or of GPU `ordinal` (-1: none); none for anything
// else: tensors elsewhere, subclasses, other layouts, dtypes that the core does not have, elements
// to be conjugated or negated, freed storages; and for all before PyTorch 2.10. Leaves no Python
// error. Valid while the tensor stays as it is.
std::optional<TensorView> try_view(nb::handle value, int ordinal);
// A source of such tensors by name; null if one of them is none.
std::shared_ptr<WeightSource> try_source(const nb::dict& tensors, int ordinal);
// A torch.Tensor or torch.nn.Parameter, no subclass.
bool is_ordinary(nb::handle value);
// Where tensors lie, one after the other; null for freed storages.
std::vector<const void*> addresses(const nb::list& tensors);
// A torch.Tensor over the memory of `tensor`, which it keeps alive.
nb::object to_torch(const Tensor& tensor);
// A torch.Tensor over `view`; `owner` is kept alive.
nb::object to_torch(const TensorView& view, std::shared_ptr<const void> owner);
// The same over memory of a device: "cuda:1".
nb::object to_torch_on(const std::string& device, const TensorView& view,
                       std::shared_ptr<const void> owner);
// Tensors of the caller as a source; valid while the Python side keeps them.
TensorView to_view(const Row& row);
std::shared_ptr<const WeightSource> to_source(const std::vector<Row>& rows);
// A cache written in Python; keeps the object alive.
std::shared_ptr<EngineCache> to_cache(nb::object object);

void bind_cache(nb::module_& module);
void bind_errors(nb::module_& module);
void bind_engine(nb::module_& module);
void bind_places(nb::module_& module);
void bind_profile(nb::module_& module);
void bind_program(nb::module_& module);
void bind_tensors(nb::module_& module);
void bind_tracking(nb::module_& module);

}  // namespace regraft::python
