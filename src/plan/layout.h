#pragma once

#include <optional>
#include <string>

#include "plan/plan.h"

namespace regraft::plan {

// The buffer is row-major from the start of its storage and fills it, for all values of symbols.
bool is_whole(const Buffer& buffer, const Storage& storage);

// A buffer at concrete shapes.
struct Placed {
  DType dtype = DType::F32;
  Dims dims;
  Dims strides;
  int64_t offset_bytes = 0;
};

// What keeps a buffer of constant sizes from fitting in its storage; nothing when it fits or when
// its sizes are symbolic (place() then checks).
std::optional<std::string> try_find_overrun(const Buffer& buffer, const Storage& storage);

// The buffer at the symbols' values. Throws Error{"plan", Corrupt} when it reaches beyond its
// storage of `storage_bytes`, and Error{OutOfMemory} when a size overflows.
Placed place(const Buffer& buffer, int64_t storage_bytes, const SymbolValues& values);

// The storage's size; Error{"plan", Corrupt} when negative.
int64_t storage_bytes(const Storage& storage, const SymbolValues& values);

}  // namespace regraft::plan
