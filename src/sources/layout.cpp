#include "sources/layout.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/fail.h"
#include "sources/text.h"

namespace regraft::sources {

std::optional<uint64_t> try_byte_count(DType dtype, const Dims& dims) {
  if (dims.size() > kMaxRank) return std::nullopt;
  auto bytes = static_cast<int64_t>(item_size(dtype));
  bool empty = false;
  for (const int64_t size : dims) {
    if (size < 0) return std::nullopt;
    if (size == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bytes, size, &bytes)) {
      return std::nullopt;  // For an empty tensor too: its strides would overflow.
    }
  }
  return empty ? 0 : static_cast<uint64_t>(bytes);
}

std::optional<uint64_t> try_element_span(const Dims& dims, const Dims& strides) {
  int64_t last = 0;
  bool empty = false;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0 || strides[i] < 0) return std::nullopt;
    if (dims[i] == 0) {
      empty = true;
      continue;
    }
    int64_t step = 0;
    if (__builtin_mul_overflow(dims[i] - 1, strides[i], &step) ||
        __builtin_add_overflow(last, step, &last)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : static_cast<uint64_t>(last) + 1;
}

size_t alignment(DType dtype) {
  return is_complex(dtype) ? item_size(dtype) / 2 : item_size(dtype);
}

bool is_aligned(const void* data, size_t to) { return reinterpret_cast<uintptr_t>(data) % to == 0; }

Record aligned_copy(const Record& record) {
  const size_t bytes = record.bytes.size();
  const auto memory = std::make_shared<Tensor>(DType::U8, Dims{static_cast<int64_t>(bytes)});
  auto* out = memory->mutable_view().as_mutable<std::byte>();
  if (bytes > 0) std::memcpy(out, record.bytes.data(), bytes);
  return {{out, bytes}, memory};
}

SourceTensor tensor_over(const Record& record, uint64_t offset, DType dtype, Dims dims,
                         Dims strides, std::string_view where, std::string_view name) {
  const uint64_t span = try_element_span(dims, strides).value_or(0) * item_size(dtype);
  Record part{record.bytes.subspan(offset, span), record.owner};
  if (!is_aligned(part.bytes.data(), alignment(dtype))) part = aligned_copy(part);
  if (dtype == DType::Bool) {
    const auto is_bool = [](std::byte b) { return b <= std::byte{1}; };
    if (!std::all_of(part.bytes.begin(), part.bytes.end(), is_bool)) {
      base::fail("sources", ErrorCode::Corrupt, where, ": ", printable(name),
                 ": want bool (0 or 1), have other bytes");
    }
  }
  return {TensorView(part.bytes.data(), dtype, std::move(dims), std::move(strides)),
          std::move(part.owner), true};
}

}  // namespace regraft::sources
