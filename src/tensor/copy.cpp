#include "tensor/copy.h"

#include <cstring>
#include <utility>

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
void copy_row(const From* from, int64_t from_stride, To* to, int64_t to_stride, int64_t count) {
  if constexpr (std::is_same_v<From, To>) {
    if (from_stride == 1 && to_stride == 1) {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(To));
      return;
    }
  }
  if (from_stride == 1 && to_stride == 1) {
    for (int64_t i = 0; i < count; ++i)
      to[i] = convert<To>(from[i]);
    return;
  }
  for (int64_t i = 0; i < count; ++i)
    to[i * to_stride] = convert<To>(from[i * from_stride]);
}

template <typename From, typename To>
void copy_loop(const From* from, To* to, const Loop& loop) {
  const size_t rank = loop.dims.size();
  int64_t outer = 1;
  for (size_t i = 0; i + 1 < rank; ++i)
    outer *= loop.dims[i];
  const int64_t inner = loop.dims.back();
  constexpr int64_t kGrain = 32768;
  if (outer == 1) {
    base::parallel_for(inner, kGrain, [&](int64_t begin, int64_t end) {
      const base::KeepDenormals keep;
      copy_row(from + begin * loop.from.back(), loop.from.back(), to + begin * loop.to.back(),
               loop.to.back(), end - begin);
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
      copy_row(from + from_offset, loop.from.back(), to + to_offset, loop.to.back(), inner);
    }
  });
}

}  // namespace

void copy(const TensorView& from, const MutableTensorView& to) {
  if (from.dims != to.dims) {
    base::fail("tensor", ErrorCode::Mismatch, "copy: want dims ", to_string(to.dims), ", have ",
               to_string(from.dims));
  }
  if (from.count() == 0) return;
  const Loop loop = collapse(from, to);
  visit(from.dtype, [&](auto source) {
    visit(to.dtype, [&](auto target) {
      using From = decltype(source);
      using To = decltype(target);
      copy_loop(from.as<From>(), to.as_mutable<To>(), loop);
    });
  });
}

}  // namespace regraft
