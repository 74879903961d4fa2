#include "backends/reference/run/indexing.h"

#include "tensor/copy.h"

namespace regraft::reference {

std::vector<int64_t> read_indices(const TensorView& view) {
  std::vector<int64_t> indices(static_cast<size_t>(view.count()));
  copy(view, MutableTensorView(indices.data(), DType::I64, view.dims));
  return indices;
}

void check_index(std::string_view op, int64_t index, int64_t size) {
  if (index < 0 || index >= size) {
    base::fail("engine", ErrorCode::InvalidArgument, op, ": index ", index,
               " is outside an axis of size ", size);
  }
}

TensorView at_least_1d(const TensorView& view) {
  return view.dims.empty() ? TensorView(view.data, view.dtype, {1}, {1}) : view;
}

MutableTensorView at_least_1d(const MutableTensorView& view) {
  return view.dims.empty() ? MutableTensorView(view.mutable_data(), view.dtype, {1}, {1}) : view;
}

}  // namespace regraft::reference
