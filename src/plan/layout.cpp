#include "plan/layout.h"

#include <algorithm>

#include "base/fail.h"

namespace regraft::plan {
namespace {

// What is wrong with a view of constant sizes in `bytes` of memory.
std::optional<std::string> overrun(const Placed& view, int64_t offset, int64_t bytes) {
  for (size_t i = 0; i < view.dims.size(); ++i) {
    if (view.dims[i] < 0 || view.strides[i] < 0) return "negative size or stride";
  }
  if (offset < 0) return "negative offset";
  // Without elements it is nowhere: a slice of an empty tensor begins behind its end.
  if (numel(view.dims) == 0) return std::nullopt;
  const auto item = static_cast<int64_t>(item_size(view.dtype));
  const int64_t capacity = bytes / item;
  if (offset > capacity) return base::cat("offset ", offset, " outside of ", capacity);
  // Index of the last element, never larger than the capacity: subtraction guards the sum.
  int64_t left = capacity - offset;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(view.dims[i] - 1, view.strides[i], &reach) || reach > left) {
      return base::cat("dims ", regraft::to_string(view.dims), " strides ",
                       regraft::to_string(view.strides), " reach beyond ", bytes, " bytes");
    }
    left -= reach;
  }
  if (left < 1)
    return base::cat("dims ", regraft::to_string(view.dims), " need more than ", bytes, " bytes");
  return std::nullopt;
}

bool all_constant(const SymDims& sizes) {
  return std::all_of(sizes.begin(), sizes.end(), [](const SymInt& x) { return x.is_constant(); });
}

}  // namespace

bool is_whole(const Buffer& buffer, const Storage& storage) {
  if (!(buffer.offset == SymInt(0))) return false;
  const SymDims& dims = buffer.type.dims;
  SymInt stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    // A stride that no step uses may have any value.
    if (!(dims[i] == SymInt(1)) && !(buffer.strides[i] == stride)) {
      const bool empty = std::any_of(dims.begin(), dims.end(),
                                     [](const SymInt& size) { return size == SymInt(0); });
      if (!empty) return false;
    }
    stride = stride * dims[i];
  }
  return numel(dims) * SymInt(static_cast<int64_t>(item_size(buffer.type.dtype))) == storage.bytes;
}

std::optional<std::string> try_find_overrun(const Buffer& buffer, const Storage& storage) {
  if (!all_constant(buffer.type.dims) || !all_constant(buffer.strides) ||
      !buffer.offset.is_constant() || !storage.bytes.is_constant()) {
    return std::nullopt;
  }
  Placed view{buffer.type.dtype, eval(buffer.type.dims, {}), eval(buffer.strides, {}), 0};
  return overrun(view, buffer.offset.value(), storage.bytes.value());
}

Placed place(const Buffer& buffer, int64_t storage_bytes, const SymbolValues& values) {
  Placed view{buffer.type.dtype, eval(buffer.type.dims, values), eval(buffer.strides, values), 0};
  const int64_t offset = buffer.offset.eval(values);
  if (const auto problem = overrun(view, offset, storage_bytes)) {
    base::fail("plan", ErrorCode::Corrupt, "buffer ", buffer.name, ": ", *problem);
  }
  const bool is_empty = numel(view.dims) == 0;
  view.offset_bytes = is_empty ? 0 : offset * static_cast<int64_t>(item_size(view.dtype));
  return view;
}

int64_t storage_bytes(const Storage& storage, const SymbolValues& values) {
  const int64_t bytes = storage.bytes.eval(values);
  if (bytes < 0) base::fail("plan", ErrorCode::Corrupt, "a storage of ", bytes, " bytes");
  return bytes;
}

}  // namespace regraft::plan
