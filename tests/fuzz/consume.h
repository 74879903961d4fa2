#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "regraft/error.h"
#include "regraft/tensor.h"
#include "regraft/weight_source.h"
#include "sources/bytes.h"

namespace regraft::fuzz {

// A copy in memory of exactly this size, so that a read behind its end is seen.
inline sources::Record exact(const void* data, size_t bytes) {
  const std::shared_ptr<std::byte[]> memory(new std::byte[bytes]);
  if (bytes > 0) std::memcpy(memory.get(), data, bytes);
  return {{memory.get(), bytes}, memory};
}

// Touches what a reader of the tensor would touch. Views larger than this are legal (strides of 0)
// and only cost time.
inline void consume(const TensorView& view) {
  constexpr int64_t kMostElements = 1 << 16;
  if (view.count() <= kMostElements) {
    Tensor::copy_of(view);
    return;
  }
  const auto* bytes = view.as<volatile unsigned char>();
  int64_t last = 0;
  for (size_t i = 0; i < view.dims.size(); ++i) {
    last += (view.dims[i] - 1) * view.strides[i];
  }
  static_cast<void>(bytes[0]);
  static_cast<void>(bytes[static_cast<size_t>(last + 1) * item_size(view.dtype) - 1]);
}

inline void consume(const WeightSource& source) {
  for (const std::string& name : source.names()) {
    source.spec(name);
    try {
      consume(source.read(name).view);
    } catch (const Error&) {
    }
  }
}

}  // namespace regraft::fuzz
