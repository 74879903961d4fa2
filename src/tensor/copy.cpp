#include "tensor/copy.h"

#include <algorithm>
#include <cstring>

#include "base/fail.h"
#include "base/parallel.h"
#include "tensor/convert.h"

namespace regraft {
namespace {

// The two views with size-1 dimensions dropped and mergeable neighbours merged.
struct Loop {
  Dims dims, from, to;
};

Loop collapse(const TensorView& from, const TensorView& to) {
  Loop loop;
  for (size_t i = 0; i < from.dims.size(); ++i) {
    if (from.dims[i] == 1) continue;
    if (!loop.dims.empty() && loop.from.back() == from.strides[i] * from.dims[i] &&
        loop.to.back() == to.strides[i] * from.dims[i]) {
      loop.dims.back() *= from.dims[i];
      loop.from.back() = from.strides[i];
      loop.to.back() = to.strides[i];
    } else {
      loop.dims.push_back(from.dims[i]);
      loop.from.push_back(from.strides[i]);
      loop.to.push_back(to.strides[i]);
    }
  }
  if (loop.dims.empty()) {
    loop.dims = {1};
    loop.from = loop.to = {1};
  }
  return loop;
}

template <typename From, typename To>
void copy_row(const void* source, int64_t from_stride, void* target, int64_t to_stride,
              int64_t count) {
  const auto* from = static_cast<const From*>(source);
  auto* to = static_cast<To*>(target);
  if (from_stride == 1 && to_stride == 1) {
    if constexpr (std::is_same_v<From, To>) {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(To));
    } else {
      for (int64_t i = 0; i < count; ++i)
        to[i] = convert<To>(from[i]);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    to[i * to_stride] = convert<To>(from[i * from_stride]);
}

// Float8 by way of f32, which is where its conversions to and from all other dtypes go through.
template <typename From, typename To>
void copy_row_by_f32(const void* source, int64_t from_stride, void* target, int64_t to_stride,
                     int64_t count) {
  constexpr int64_t kPiece = 256;
  float piece[kPiece];
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = std::min(kPiece, count - begin);
    copy_row<From, float>(static_cast<const From*>(source) + begin * from_stride, from_stride,
                          piece, 1, size);
    copy_row<float, To>(piece, 1, static_cast<To*>(target) + begin * to_stride, to_stride, size);
  }
}

void copy_loop(const std::byte* from, size_t from_size, std::byte* to, size_t to_size,
               RowCopy copy_row, const Loop& loop) {
  const size_t rank = loop.dims.size();
  int64_t outer = 1;
  for (size_t i = 0; i + 1 < rank; ++i)
    outer *= loop.dims[i];
  const int64_t inner = loop.dims.back();
  const auto run = [&](int64_t from_at, int64_t to_at, int64_t count) {
    copy_row(from + from_at * static_cast<int64_t>(from_size), loop.from.back(),
             to + to_at * static_cast<int64_t>(to_size), loop.to.back(), count);
  };
  constexpr int64_t kGrain = 32768;
  if (outer == 1) {
    base::parallel_for(inner, kGrain, [&](int64_t begin, int64_t end) {
      const base::KeepDenormals keep;
      run(begin * loop.from.back(), begin * loop.to.back(), end - begin);
    });
    return;
  }
  base::parallel_for(outer, kGrain / inner + 1, [&](int64_t begin, int64_t end) {
    const base::KeepDenormals keep;
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, from_offset = 0, to_offset = 0;
      for (size_t i = rank - 1; i-- > 0;) {
        const int64_t index = rest % loop.dims[i];
        rest /= loop.dims[i];
        from_offset += index * loop.from[i];
        to_offset += index * loop.to[i];
      }
      run(from_offset, to_offset, inner);
    }
  });
}

}  // namespace

RowCopy copy_row_of(DType from, DType to) {
  return visit(from, [&](auto source) -> RowCopy {
    return visit(to, [](auto target) -> RowCopy {
      using From = decltype(source);
      using To = decltype(target);
      if constexpr (std::is_same_v<From, To> || (!kIsFloat8<From> && !kIsFloat8<To>)) {
        return &copy_row<From, To>;
      } else {
        return &copy_row_by_f32<From, To>;
      }
    });
  });
}

void copy(const TensorView& from, const MutableTensorView& to) {
  if (from.dims != to.dims) {
    base::fail("tensor", ErrorCode::Mismatch, "copy: want dims ", to_string(to.dims), ", have ",
               to_string(from.dims));
  }
  if (from.count() == 0) return;
  copy_loop(from.as<std::byte>(), item_size(from.dtype), to.as_mutable<std::byte>(),
            item_size(to.dtype), copy_row_of(from.dtype, to.dtype), collapse(from, to));
}

}  // namespace regraft
