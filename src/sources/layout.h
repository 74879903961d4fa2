#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "regraft/tensor.h"
#include "regraft/weight_source.h"
#include "sources/bytes.h"

namespace regraft::sources {

// What files may declare; the same bound as NumPy's and PyTorch's.
inline constexpr size_t kMaxRank = 64;

// Bytes of a row-major tensor, or nothing: a negative size, too many dimensions, or more bytes than
// int64 counts. Call it before any arithmetic on dims that come from a file.
std::optional<uint64_t> try_byte_count(DType dtype, const Dims& dims);

// Elements from the first to the last of a strided tensor, both included; 0 for an empty one.
// Nothing for negative sizes or strides, or on overflow.
std::optional<uint64_t> try_element_span(const Dims& dims, const Dims& strides);

// The alignment C++ wants for an element.
size_t alignment(DType dtype);
bool is_aligned(const void* data, size_t to);

// A copy of the record in memory aligned for every dtype.
Record aligned_copy(const Record& record);

// A tensor over `record`, `offset` bytes in; the caller has checked the range against the record.
// Copies what is not aligned for its dtype. Throws Error{Corrupt} for a bool that is neither 0 nor
// 1, which C++ could not load; `where` and `name` lead the message.
SourceTensor tensor_over(const Record& record, uint64_t offset, DType dtype, Dims dims,
                         Dims strides, std::string_view where, std::string_view name);

}  // namespace regraft::sources
