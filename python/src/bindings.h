#pragma once

#include <memory>
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
// A torch.Tensor over the memory of `tensor`, which it keeps alive.
nb::object to_torch(const Tensor& tensor);
// A torch.Tensor over `view`; `owner` is kept alive.
nb::object to_torch(const TensorView& view, std::shared_ptr<const void> owner);
// Tensors of the caller as a source; valid while the Python side keeps them.
TensorView to_view(const Row& row);
std::shared_ptr<const WeightSource> to_source(const std::vector<Row>& rows);
// A cache written in Python; keeps the object alive.
std::shared_ptr<EngineCache> to_cache(nb::object object);

void bind_cache(nb::module_& module);
void bind_errors(nb::module_& module);
void bind_engine(nb::module_& module);
void bind_program(nb::module_& module);
void bind_tracking(nb::module_& module);

}  // namespace regraft::python
